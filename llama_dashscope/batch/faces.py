"""The batches that users run: `AsyncBatch`, and `Batch` for sync code."""

import warnings
from collections import deque
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import final

import anyio
from anyio.abc import TaskGroup

from llama_dashscope._errors import DashScopeError
from llama_dashscope._network.event_loop import (
    Bridge,
    EventLoop,
    call_soon_threadsafe,
    running_loop,
    start_soon_threadsafe,
)

from .check import BatchCheck, check_items
from .plan import BatchPlan
from .results import BatchResult
from .runner import Runner
from .summary import BatchSummary

__all__ = ["AsyncBatch", "Batch"]


class _Start:
    """The runner of a batch that has started, and the event loop that it runs in."""

    __slots__ = ("loop", "runner")

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.loop: EventLoop = running_loop()


def _started(start: _Start | None, statement: str) -> _Start:
    if start is None:
        msg = f"the batch has not started: use it in '{statement}'"
        raise DashScopeError(msg)
    return start


@final
class AsyncBatch:
    """A batch of calls; made by `Client.abatch`.

    Use it with `async with`, which starts and ends it, and `async for`, which yields each result as
    it arrives. Leaving it early cancels the requests in flight; `stop` lets them finish.
    """

    def __init__(self, plan: BatchPlan) -> None:
        """Take the plan; nothing is read or sent yet."""
        self.plan = plan
        """The items of the batch, and how their calls are made."""
        self._start: _Start | None = None
        self._tasks: TaskGroup | None = None
        self._ready: deque[BatchResult] = deque()

    async def __aenter__(self) -> "AsyncBatch":
        """Open the journal and start.

        Raises:
            ConfigurationError: another run has the journal open, or the file is not a journal.
            OSError: the journal can't be read or written.
        """
        if self._start is not None:
            raise DashScopeError("a batch runs once; make another one")
        runner = Runner(self.plan)
        await runner.open()
        self._start = _Start(runner)
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(runner.run)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the batch; requests in flight are cancelled, and the next run asks them again."""
        if self._start is None or self._tasks is None:
            return
        self._start.runner.cancel()
        try:
            # Without the error, which the group would wrap in an ExceptionGroup.
            await self._tasks.__aexit__(None, None, None)
        finally:
            self._start.runner.discard()

    def __aiter__(self) -> "AsyncBatch":
        """Return the batch itself: its results can be taken once."""
        return self

    async def __anext__(self) -> BatchResult:
        """Return the next result.

        Raises:
            StopAsyncIteration: there are no more.
            DashScopeError: the batch has ended, and its other results were dropped.
            BaseException: the batch can't continue: its input raised this error, or its journal
                can't be written.
        """
        if not self._ready:
            start = _started(self._start, "async with")
            self._ready.extend(await start.runner.more())
            if not self._ready:
                raise StopAsyncIteration
        return self._ready.popleft()

    async def acheck(self) -> BatchCheck:
        """Read and check all items without sending any; call it instead of entering the batch.

        Raises:
            Exception: see `__aenter__`, or an error that the input raises.
        """
        return await check_items(self.plan)

    async def aread(self) -> BatchSummary:
        """Run to the end without using the results, and return the summary; for use with a journal.

        Raises:
            BaseException: see `__anext__`.
        """
        async for _ in self:
            pass
        return self.summary

    def stop(self) -> None:
        """Send no more requests; results of those in flight still arrive before the batch ends.

        May be called from any thread and from signal handlers.
        """
        start = _started(self._start, "async with")
        call_soon_threadsafe(start.loop, start.runner.stop)

    @property
    def summary(self) -> BatchSummary:
        """The counts so far; may be read at any time."""
        return BatchSummary() if self._start is None else self._start.runner.tally.summary


@final
class Batch:
    """A batch of calls, for sync code; made by `Client.batch`.

    Use it with `with` and `for`. It runs like `AsyncBatch`, in the event loop of the client's sync
    calls, and fetches all results that have arrived at once.
    """

    def __init__(self, plan: BatchPlan, run: Bridge) -> None:
        """Take the plan and the bridge to the event loop; nothing is read or sent yet."""
        self._plan = plan
        self._run = run
        self._start: _Start | None = None
        self._ready: deque[BatchResult] = deque()
        self._closed = False

    def __enter__(self) -> "Batch":
        """Open the journal and start; see `AsyncBatch.__aenter__`."""
        if self._start is not None:
            raise DashScopeError("a batch runs once; make another one")
        self._run(self._begin)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the batch; requests in flight are cancelled, and the next run asks them again."""
        if self._start is not None and not self._closed:
            self._closed = True
            self._run(self._start.runner.close)

    def __iter__(self) -> "Batch":
        """Return the batch itself: its results can be taken once."""
        return self

    def __next__(self) -> BatchResult:
        """Return the next result.

        Raises:
            StopIteration: there are no more.
            BaseException: see `AsyncBatch.__anext__`.
        """
        while True:
            with suppress(IndexError):  # there is none, or another thread has taken it
                return self._ready.popleft()
            start = _started(self._start, "with")
            arrived = self._run(start.runner.more)
            if not arrived:
                raise StopIteration
            self._ready.extend(arrived)

    def check(self) -> BatchCheck:
        """Read and check all items without sending any; call it instead of entering the batch.

        Raises:
            Exception: see `AsyncBatch.__aenter__`, or an error that the input raises.
        """
        return self._run(partial(check_items, self._plan))

    def read(self) -> BatchSummary:
        """Run to the end without using the results, and return the summary; for use with a journal.

        Raises:
            BaseException: see `AsyncBatch.__anext__`.
        """
        for _ in self:
            pass
        return self.summary

    def stop(self) -> None:
        """Send no more requests; results of those in flight still arrive before the batch ends.

        May be called from any thread and from signal handlers.
        """
        start = _started(self._start, "with")
        call_soon_threadsafe(start.loop, start.runner.stop)

    @property
    def summary(self) -> BatchSummary:
        """The counts so far; may be read at any time."""
        return BatchSummary() if self._start is None else self._start.runner.tally.summary

    async def _begin(self) -> None:
        runner = Runner(self._plan)
        await runner.open()
        self._start = _Start(runner)
        start_soon_threadsafe(self._start.loop, runner.run)

    def __del__(self) -> None:
        if self._start is not None and not self._closed:
            start_soon_threadsafe(self._start.loop, self._start.runner.close)
            msg = "a batch was left open: use 'with client.batch(...)'"
            warnings.warn(msg, ResourceWarning, stacklevel=2, source=self)
