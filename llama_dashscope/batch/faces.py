"""Batches as users hold them: `AsyncBatch`, and `Batch`, its twin for sync code."""

import warnings
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
    """A batch that has begun, and the event loop that it runs in."""

    __slots__ = ("loop", "runner")

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.loop: EventLoop = running_loop()


def _begun(start: _Start | None, face: str) -> _Start:
    if start is None:
        msg = f"a batch begins with '{face}': use it so"
        raise DashScopeError(msg)
    return start


@final
class AsyncBatch:
    """Many questions under way; made by `Client.abatch`.

    Use it with `async with`, which begins and ends it, and `async for`, which gives each result as
    it comes. Leaving it early gives up what is under way; `stop` lets that come to its end.
    """

    def __init__(self, plan: BatchPlan) -> None:
        """Take the plan; nothing is read or sent yet."""
        self.plan = plan
        """What the batch is to do."""
        self._start: _Start | None = None
        self._tasks: TaskGroup | None = None
        self._ready: list[BatchResult] = []

    async def __aenter__(self) -> "AsyncBatch":
        """Open the journal and begin.

        Raises:
            ConfigurationError: another run has the journal open, or it is something else.
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
        """End the batch: what is under way is given up, and asked again by the next run."""
        if self._start is None or self._tasks is None:
            return
        self._start.runner.cancel()
        try:
            # The group is not told of the error, which would come out in an ExceptionGroup.
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
            Exception: the batch can't go on: its input has raised this, or its journal can't be
                written.
        """
        if not self._ready:
            start = _begun(self._start, "async with")
            self._ready = (await start.runner.more())[::-1]
            if not self._ready:
                raise StopAsyncIteration
        return self._ready.pop()

    async def acheck(self) -> BatchCheck:
        """Read and check all items and send nothing; instead of entering the batch.

        Raises:
            Exception: see `__aenter__`, and what the input raises.
        """
        return await check_items(self.plan)

    async def aread(self) -> BatchSummary:
        """Take what results are left and return the summary: for those who want the journal.

        Raises:
            Exception: see `__anext__`.
        """
        async for _ in self:
            pass
        return self.summary

    def stop(self) -> None:
        """Send no more requests; results of those under way still come, and then the end.

        May be called from any thread and from signal handlers.
        """
        start = _begun(self._start, "async with")
        call_soon_threadsafe(start.loop, start.runner.stop)

    @property
    def summary(self) -> BatchSummary:
        """How the batch stands, at any time."""
        return BatchSummary() if self._start is None else self._start.runner.tally.summary


@final
class Batch:
    """Many questions under way, for sync code; made by `Client.batch`.

    Use it with `with` and `for`. It is the same engine as that of `AsyncBatch`, in the event loop
    of the client's sync calls; it is asked once for all the results that have come.
    """

    def __init__(self, plan: BatchPlan, run: Bridge) -> None:
        """Take the plan and the bridge to the event loop; nothing is read or sent yet."""
        self._plan = plan
        self._run = run
        self._start: _Start | None = None
        self._ready: list[BatchResult] = []
        self._closed = False

    def __enter__(self) -> "Batch":
        """Open the journal and begin; see `AsyncBatch.__aenter__`."""
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
        """End the batch: what is under way is given up, and asked again by the next run."""
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
            Exception: see `AsyncBatch.__anext__`.
        """
        if not self._ready:
            start = _begun(self._start, "with")
            self._ready = self._run(start.runner.more)[::-1]
            if not self._ready:
                raise StopIteration
        return self._ready.pop()

    def check(self) -> BatchCheck:
        """Read and check all items and send nothing; instead of entering the batch.

        Raises:
            Exception: see `AsyncBatch.__aenter__`, and what the input raises.
        """
        return self._run(partial(check_items, self._plan))

    def read(self) -> BatchSummary:
        """Take what results are left and return the summary: for those who want the journal.

        Raises:
            Exception: see `AsyncBatch.__anext__`.
        """
        for _ in self:
            pass
        return self.summary

    def stop(self) -> None:
        """Send no more requests; results of those under way still come, and then the end.

        May be called from any thread and from signal handlers.
        """
        start = _begun(self._start, "with")
        call_soon_threadsafe(start.loop, start.runner.stop)

    @property
    def summary(self) -> BatchSummary:
        """How the batch stands, at any time."""
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
