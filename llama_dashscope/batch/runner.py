"""The runner of a batch: makes the calls concurrently, retries, and writes the journal."""

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
"""Seconds between two syncs of the journal to disk."""


class Runner:
    """Runs a batch: one task runs `run`, another one takes results with `more`.

    At most `2 * concurrency` items are in memory, however long the input is: an item acquires a
    place when it is read, and releases it when its result is taken (backpressure).
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
        self._crash: BaseException | None = None
        self._torn = False  # whether the journal ends in an incomplete line, so is no more written
        self._over = False  # whether the consumer has been told that there are no more results
        self._ended = anyio.Event()

    async def open(self) -> None:
        """Open the journal.

        Raises:
            ConfigurationError: another run has the file open, or it is not a journal.
            OSError: the file can't be read or written.
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
        """Make the calls of all items; an error of the batch itself is raised by `more`."""
        whole = False
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._keep_synced)
                    await self._ask_all()
                    whole = True
                    tasks.cancel_scope.cancel()
        finally:
            if not whole and not self._scope.cancel_called:
                # As when the input awaits a task that was cancelled.
                self._crash = self._crash or DashScopeError(
                    "the batch was cancelled before its end"
                )
            with anyio.CancelScope(shield=True):
                await self._close_journal()
            self.tally.end()
            self._send.close()
            self._ended.set()

    async def more(self) -> list[BatchResult]:
        """Wait for results and return all that have arrived; none at the end.

        Raises:
            DashScopeError: the results that were left have been dropped.
            BaseException: the error of the input or of the journal that ended the batch.
        """
        ready: list[BatchResult] = []
        while not ready:
            try:
                arrived = [await self._results.receive()]
            except anyio.EndOfStream:
                return self._last()
            except anyio.ClosedResourceError:
                if self._over:
                    return []
                msg = "the batch has ended, and results not taken inside its 'with' were dropped"
                raise DashScopeError(msg) from None
            with suppress(anyio.WouldBlock, anyio.EndOfStream):
                while True:
                    arrived.append(self._results.receive_nowait())
            ready = self._in_order(arrived)
        for _ in ready:
            self._places.release()
        return ready

    def stop(self) -> None:
        """Take no more items and send no more requests; requests in flight finish."""
        self._gate.close()
        # Wake `_ask_all`, whichever semaphore it waits for.
        self._places.release()
        self._asking.release()

    def cancel(self) -> None:
        """Cancel the requests in flight."""
        self.stop()
        self._scope.cancel()

    async def close(self) -> None:
        """Cancel the requests in flight, and wait until their resources are released."""
        self.cancel()
        await self._ended.wait()
        self.discard()

    def discard(self) -> None:
        """Drop the results that have not been taken."""
        self._results.close()

    async def _ask_all(self) -> None:
        """Make each item's calls in a task of its own, at most `concurrency` at once."""
        intake = Intake(self._plan, self._index, self.tally)
        async with anyio.create_task_group() as tasks:
            try:
                while await self._place() and (met := await self._read(intake)):
                    order, self._order = self._order, self._order + 1
                    if isinstance(met, Rejection):
                        self._finish(order, met.result, "", met.digest)
                    else:
                        await self._asking.acquire()
                        tasks.start_soon(self._answer, order, met)
            except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001  # see below
                self._crash = self._crash or error  # of the input; the consumer gets it
            finally:
                with anyio.CancelScope(shield=True):
                    await intake.aclose()

    async def _read(self, intake: Intake) -> Question | Rejection | None:
        """Read the next item; None at the end, also if the batch stops while the input waits."""
        if not intake.waits:
            return await intake.read()
        try:
            return await self._gate.wait(intake.read)
        except NotSentError:
            return None

    async def _place(self) -> bool:
        """Wait for a place for an item; return False if the batch has stopped."""
        await self._places.acquire()
        return not self._gate.shut

    async def _answer(self, order: int, question: Question) -> None:
        """Make the calls of an item until it has a result."""
        try:
            result, digest = await self._ask(question)
            self._finish(order, result, question.item.model, digest)
        except NotSentError:
            self.tally.left += 1
            self._places.release()
        except Exception as error:  # noqa: BLE001  # not of a call; the consumer gets it
            self._fail(error)
        finally:
            self._asking.release()

    async def _ask(self, question: Question) -> tuple[BatchResult, bytes | None]:
        """Make an item's calls; return its result, with its digest if the journal is to store it.

        Raises:
            NotSentError: the batch has stopped.
        """
        plan, turn = self._plan, Turn(self._gate, self._plan.admit)
        failures = refusals = 0
        while True:
            await turn.wait_for_pace(question.item.model, question.prepared.tokens)
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
        """Write a result to the journal and pass it to the consumer."""
        if self._journal is not None and digest is not None and not self._torn:
            try:
                self._journal.append(result, model, digest)
            except OSError as error:
                self._torn = True
                self._fail(error)
        self.tally.add(result)
        self._send.send_nowait((order, result))

    def _fail(self, error: Exception) -> None:
        """Stop the batch: requests in flight finish, then the consumer gets the error."""
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
        """Return the results that are next in order; hold back the others."""
        if not self._plan.ordered:
            return [result for _, result in arrived]
        self._held.update(arrived)
        ready: list[BatchResult] = []
        while (result := self._held.pop(self._next, None)) is not None:
            ready.append(result)
            self._next += 1
        return ready

    def _last(self) -> list[BatchResult]:
        """Return results that were held back for one that never came; then none.

        Raises:
            BaseException: the error that ended the batch.
        """
        ready = [self._held.pop(order) for order in sorted(self._held)]
        if not ready:
            self._over = True
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
