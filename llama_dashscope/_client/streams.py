"""The streams that users read: `AsyncStream`, and `Stream` for sync code."""

import sys
import warnings
from types import TracebackType
from typing import Final, Generic, final

from llama_dashscope._errors import DashScopeError, IncompleteResponseError, StreamUsageError
from llama_dashscope._models import Chunk, Response
from llama_dashscope._network.event_loop import (
    Bridge,
    LoopAffinity,
    close_from_sync,
    start_soon_threadsafe,
)

from .call import Call
from .call_runner import CallRunner
from .stream_reader import StreamReader

if sys.version_info >= (3, 13):
    from typing import TypeVar
else:
    from typing_extensions import TypeVar  # comes with anyio on these versions

__all__ = ["AsyncStream", "Stream"]

Item = TypeVar("Item", default=Chunk)
"""What a stream yields; the client's streams yield chunks."""


@final
class AsyncStream(Generic[Item]):
    """An answer that arrives in chunks; made by `Client.astream`.

    Use it with `async with`, which opens and closes it, and `async for`. Entering it sends the call
    and waits for the first part of an answer; until then temporary failures are retried. Leaving it
    early closes its connection.
    """

    def __init__(self, engine: CallRunner, call: Call[Item]) -> None:
        """Take the call; nothing is sent yet."""
        self._engine = engine
        self._call: Call[Item] | None = call
        self._reader: StreamReader[Item] | None = None
        self._affinity: LoopAffinity | None = None
        self.ready: list[Item] = []
        """Chunks that have arrived and have not been read yet, the next one last."""
        self.ahead = False
        """Whether to read in the background; `Stream` does."""
        self._reading = False
        self._ended = False
        self._closed = False

    async def __aenter__(self) -> "AsyncStream[Item]":
        """Send the call and wait for the first chunk.

        Raises:
            DashScopeError: the call failed.
        """
        await self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the stream."""
        await self.aclose()

    def __aiter__(self) -> "AsyncStream[Item]":
        """Return the stream itself: it can be read once."""
        return self

    async def __anext__(self) -> Item:
        """Return the next chunk.

        Raises:
            DashScopeError: the stream broke; `partial_text` has the text received.
            StopAsyncIteration: the answer is complete.
        """
        if not self.ready:
            await self.fill()
            if not self.ready:
                raise StopAsyncIteration
        return self.ready.pop()

    async def aread(self) -> Response:
        """Read the rest of the stream and return the complete answer.

        Raises:
            DashScopeError: the stream broke; `partial_text` has the text received.
        """
        async for _ in self:
            pass
        return self.response

    async def aclose(self) -> None:
        """Close the stream and free its connection; safe to call more than once."""
        self._closed = True
        if self._reader is not None:
            await self._reader.aclose(drain=True)

    def close_from_sync(self) -> None:
        """Close the stream from sync code, in its own event loop, without waiting for long."""
        self._closed = True
        if self._reader is None or self._reader.closed or self._affinity is None:
            return
        if self._affinity.forked:
            _parents.append(self._reader)
        else:
            close_from_sync([(self._affinity.loop, self.aclose)])

    @property
    def closed(self) -> bool:
        """Whether the stream was closed, at its end or before."""
        return self._closed

    @property
    def response(self) -> Response:
        """The complete answer, once the stream has ended.

        Raises:
            StreamUsageError: the stream has not been read to its end.
        """
        if not self._ended or self._reader is None:
            read_on = "stream.read()" if self.ahead else "await stream.aread()"
            what = (
                "this one was closed early; stream.text has the text received"
                if self._closed
                else f"{read_on} reads the rest and returns the response"
            )
            raise StreamUsageError(f"stream.response needs a stream read to its end; {what}")
        return self._reader.answer.response()

    @property
    def text(self) -> str:
        """The text that has arrived so far, including chunks not yet read."""
        return "" if self._reader is None else self._reader.answer.text

    async def _open(self) -> None:
        call = self._call
        if call is None or self._closed:
            return
        self._affinity = LoopAffinity()
        reader = await self._engine.open(call, ahead=self.ahead)
        self._call = None  # frees the request: there may be thousands of open streams
        if self.closed:  # by another task during the wait, or by Ctrl-C in sync code
            await reader.aclose()
            raise self._closed_early()
        self._reader = reader
        self.ready.extend(reversed(reader.take()))

    async def fill(self) -> None:
        """Wait for more chunks and put them into `ready`; none at the end of the answer."""
        if self._call is not None:
            await self._open()
        if self._ended or self.ready:
            return
        reader = self._open_reader()
        self._reading = True
        try:
            self.ready.extend(reversed(await reader.more()))
        except BaseException as error:
            if reader.closed and isinstance(error, Exception):  # by another task
                raise self._closed_early() from error
            await reader.aclose()
            raise
        finally:
            self._reading = False
        if not self.ready:
            self._ended = True
            await self.aclose()

    def _open_reader(self) -> StreamReader[Item]:
        """Return the reader, after checking that this task may read."""
        reader = self._reader
        if reader is None or reader.closed or self._closed or self._affinity is None:
            raise (reader.failure if reader else None) or self._closed_early()
        if not self._affinity.is_here():
            raise StreamUsageError("a stream can only be read in the event loop that opened it")
        if self._reading:
            raise StreamUsageError("a stream can only be read by one task at a time")
        return reader

    def _closed_early(self) -> DashScopeError:
        error = IncompleteResponseError("the stream was closed before its end")
        error.partial_text = self.text
        return error

    def __del__(self) -> None:
        reader = self._reader
        if reader is None or reader.closed or self._affinity is None:
            return
        if self._affinity.forked:
            _parents.append(reader)
            return
        start_soon_threadsafe(self._affinity.loop, reader.aclose)
        warnings.warn(
            "a stream was left open: use 'async with client.astream(...)' or close it",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )


_parents: Final[list[object]] = []
"""Open streams of the parent process, kept alive in a fork: finalising them would touch sockets and
event loops that the parent is still using."""


@final
class Stream(Generic[Item]):
    """An answer that arrives in chunks, for sync code; made by `Client.stream`.

    Use it with `with` and `for`. It runs an `AsyncStream` in the event loop's thread, and fetches
    all chunks that have arrived at once.
    """

    def __init__(self, stream: AsyncStream[Item], run: Bridge) -> None:
        """Take the stream and the bridge to its event loop."""
        self._stream = stream
        self._run = run
        self._ready = stream.ready
        stream.ahead = True

    def __enter__(self) -> "Stream[Item]":
        """Send the call and wait for the first chunk.

        Raises:
            DashScopeError: the call failed.
        """
        try:
            self._run(self._stream.__aenter__)
        except BaseException:  # Ctrl-C may come just when the stream has opened
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the stream."""
        self.close()

    def __iter__(self) -> "Stream[Item]":
        """Return the stream itself: it can be read once."""
        return self

    def __next__(self) -> Item:
        """Return the next chunk.

        Raises:
            DashScopeError: the stream broke; `partial_text` has the text received.
            StopIteration: the answer is complete.
        """
        if not self._ready:
            self._run(self._stream.fill)
            if not self._ready:
                raise StopIteration
        return self._ready.pop()

    def read(self) -> Response:
        """Read the rest of the stream and return the complete answer.

        Raises:
            DashScopeError: the stream broke; `partial_text` has the text received.
        """
        for _ in self:
            pass
        return self.response

    def close(self) -> None:
        """Close the stream and free its connection; safe to call more than once."""
        self._stream.close_from_sync()

    @property
    def response(self) -> Response:
        """The complete answer, once the stream has ended; see `AsyncStream.response`."""
        return self._stream.response

    @property
    def text(self) -> str:
        """The text that has arrived so far, including chunks not yet read."""
        return self._stream.text
