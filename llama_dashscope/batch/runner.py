"""The runner of a batch: asks items side by side, again where that helps, and keeps what comes."""

from contextlib import suppress
from functools import partial
from typing import Any, Final

import anyio
import anyio.to_thread

from llama_dashscope._errors import DashScopeError, RateLimitError
from llama_dashscope._models import Response

from .digest_index import DigestIndex
from .intake import Intake, Question, Rejection
from .journal import Journal
from .plan import BatchPlan
from .results import BatchResult, verdict
from .summary import Tally
from .turn import Gate, NotSentError, Turn

__all__ = ["Runner"]

SYNC_EVERY: Final = 1.0
"""Seconds between two times that the disk is told to have the journal."""


class Runner:
    """The engine of a batch. One task runs `run`, another takes results by `more`.

    Whatever the length of the input, `2 * concurrency` items are in memory: each takes a place
    when it is read and gives it back when its result is taken.
    """

    def __init__(self, plan: BatchPlan) -> None:
        """Take the plan, in the event loop that the batch runs in."""
        self.tally: Tally = Tally()
        self._plan = plan
        self._index = DigestIndex()
        self._journal: Journal | None = None
        self._gate = Gate()
        self._places = anyio.Semaphore(2 * plan.concurrency, fast_acquire=True)
        self._asking = anyio.Semaphore(plan.concurrency, fast_acquire=True)
        self._send, self._results = anyio.create_memory_object_stream[tuple[int, BatchResult]](
            float("inf")
        )
        self._scope = anyio.CancelScope()
        self._order = 0
        self._held: dict[int, BatchResult] = {}
        self._next = 0
        self._crash: Exception | None = None
        self._torn = False  # whether the journal ends in half a line, and nothing may follow it
        self._ended = anyio.Event()

    async def open(self) -> None:
        """Open the journal.

        Raises:
            ConfigurationError: another run has it open, or it is something else than a journal.
            OSError: it can't be read or written.
        """
        plan = self._plan
        try:
            if plan.journal is not None:
                self._journal = await anyio.to_thread.run_sync(
                    Journal.open, plan.journal, plan.again, self._index
                )
        except BaseException:
            self._send.close()
            self._results.close()
            raise

    async def run(self) -> None:
        """Ask all items; what goes wrong with the batch itself is raised by `more`."""
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._keep_synced)
                    await self._ask_all()
                    tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._close_journal()
            self.tally.end()
            self._send.close()
            self._ended.set()

    async def more(self) -> list[BatchResult]:
        """Wait for results and return all that are there; none at the end.

        Raises:
            Exception: what ended the batch: an error of the input or of the journal.
        """
        ready: list[BatchResult] = []
        while not ready:
            try:
                arrived = [await self._results.receive()]
            except anyio.EndOfStream:
                return self._last()
            with suppress(anyio.WouldBlock, anyio.EndOfStream):
                while True:
                    arrived.append(self._results.receive_nowait())
            ready = self._in_order(arrived)
        for _ in ready:
            self._places.release()
        return ready

    def stop(self) -> None:
        """Take no more items and send no more requests; what is under way comes to its end."""
        self._gate.close()
        # Let the reader of the input see it, wherever it waits.
        self._places.release()
        self._asking.release()

    def cancel(self) -> None:
        """Give up what is under way."""
        self.stop()
        self._scope.cancel()

    async def close(self) -> None:
        """Give up what is under way, and wait until it has let go of what it held."""
        self.cancel()
        await self._ended.wait()
        self.discard()

    def discard(self) -> None:
        """Forget the results that nobody has taken."""
        self._results.close()

    async def _ask_all(self) -> None:
        """Ask each item in a task of its own, as many at once as there may be."""
        intake = Intake(self._plan, self._index, self.tally)
        async with anyio.create_task_group() as tasks:
            try:
                while await self._place() and (met := await intake.read()):
                    order, self._order = self._order, self._order + 1
                    if isinstance(met, Rejection):
                        self._finish(order, met.result, "", met.digest)
                    else:
                        await self._asking.acquire()
                        tasks.start_soon(self._answer, order, met)
            except Exception as error:  # noqa: BLE001  # of the input; who takes results is told
                self._crash = self._crash or error
            finally:
                with anyio.CancelScope(shield=True):
                    await intake.aclose()

    async def _place(self) -> bool:
        """Wait for a place; tell whether there is work for it."""
        await self._places.acquire()
        return not self._gate.shut

    async def _answer(self, order: int, question: Question) -> None:
        """Ask an item until something comes of it."""
        try:
            result, digest = await self._ask(question)
            self._finish(order, result, question.item.model, digest)
        except NotSentError:
            self.tally.left += 1
            self._places.release()
        except Exception as error:  # noqa: BLE001  # no failure of a call; who takes results is told
            self._fail(error)
        finally:
            self._asking.release()

    async def _ask(self, question: Question) -> tuple[BatchResult, bytes | None]:
        """Ask an item; return what comes of it, and under which digest to keep that.

        Raises:
            NotSentError: the batch has stopped.
        """
        plan, turn = self._plan, Turn(self._gate, self._plan.admit)
        failures = refusals = 0
        while True:
            await turn.come(question.item.model, question.prepared.tokens)
            try:
                response, value = await question.prepared.ask(turn)
            except DashScopeError as error:
                refused = isinstance(error, RateLimitError)
                failures, refusals = failures + (not refused), refusals + refused
                self.tally.refusals += refused
                decision = verdict(error, failures, refusals, plan.tries, plan.pause)
                if decision.kind != "again":
                    error.attempts = turn.attempts
                    made = _result(question, turn, error=error)
                    if decision.kind == "failed":
                        return made, question.digest
                    self.tally.stopped = self.tally.stopped or error
                    self.stop()
                    return made, None  # the next run asks it again
                pause = decision.pause
            else:
                made = _result(question, turn, response=response, value=value)
                return made, question.digest
            await self._gate.wait(partial(anyio.sleep, pause))
            self.tally.retries += 1

    def _finish(self, order: int, result: BatchResult, model: str, digest: bytes | None) -> None:
        """Keep a result and hand it on."""
        if self._journal is not None and digest is not None and not self._torn:
            try:
                self._journal.append(result, model, digest)
            except OSError as error:
                self._torn = True
                self._fail(error)
        self.tally.add(result)
        self._send.send_nowait((order, result))

    def _fail(self, error: Exception) -> None:
        """End the batch: what is under way comes to its end, and who takes results is told."""
        self._crash = self._crash or error
        self.stop()

    async def _keep_synced(self) -> None:
        journal = self._journal
        try:
            while journal is not None:
                await anyio.sleep(SYNC_EVERY)
                await anyio.to_thread.run_sync(journal.sync)
        except OSError as error:
            self._fail(error)

    async def _close_journal(self) -> None:
        if self._journal is not None:
            try:
                await anyio.to_thread.run_sync(self._journal.close)
            except OSError as error:
                self._crash = self._crash or error

    def _in_order(self, arrived: list[tuple[int, BatchResult]]) -> list[BatchResult]:
        """Return the results that may be handed out, those before them having been."""
        if not self._plan.ordered:
            return [result for _, result in arrived]
        self._held.update(arrived)
        ready: list[BatchResult] = []
        while (result := self._held.pop(self._next, None)) is not None:
            ready.append(result)
            self._next += 1
        return ready

    def _last(self) -> list[BatchResult]:
        """Return what was held back for one that never came, and at the very end nothing.

        Raises:
            Exception: what ended the batch.
        """
        ready = [self._held.pop(order) for order in sorted(self._held)]
        if not ready:
            self.discard()
            if self._crash is not None:
                crash, self._crash = self._crash, None
                raise crash
        return ready


def _result(
    question: Question,
    turn: Turn[Any],
    *,
    response: Response | None = None,
    error: DashScopeError | None = None,
    value: object = None,
) -> BatchResult:
    item = question.item
    return BatchResult(
        item.custom_id,
        item.position,
        response,
        error,
        turn.attempts,
        turn.seconds,
        item.given,
        value,
    )
