"""Streaming responses: relay a model's answer to the browser.

A response opens its stream and waits for the first chunk before it sends a status line, so that a
call that the service refuses becomes a 4xx or 5xx. Only if the first chunk takes longer than the
heartbeat, the status line is sent early; an error is then sent as the last event, like an error in
the middle of an answer.

They are built on Starlette's StreamingResponse, not on FastAPI's EventSourceResponse, which sends
the status line before anything is known about the answer.
"""

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from time import monotonic
from typing import Any, ClassVar, Final

import anyio
from starlette.background import BackgroundTask
from starlette.datastructures import Headers
from starlette.responses import Response as HTTPResponse
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from llama_dashscope import AsyncStream, Chunk, DashScopeError, Response

from ._disconnect import LISTENER, DisconnectListener, block_tasks, until_disconnect
from ._errors import Problem, log

__all__ = ["EventStream", "JSONLines", "TextStream"]

UNBUFFERED: Final = {
    "cache-control": "no-store, no-transform",  # proxies must not cache or compress it
    "x-accel-buffering": "no",  # nginx must not buffer it
    "x-content-type-options": "nosniff",  # else browsers buffer plain text to guess its type
}

_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

CLIENT_CLOSED_REQUEST: Final = 499
"""The status that nginx logs for a browser that disconnected early."""


class _BodySender:
    """Sends the body to the browser, one message at a time, after the status line."""

    def __init__(self, response: HTTPResponse, send: Send, listening: anyio.CancelScope) -> None:
        """Start with nothing sent; `listening` is cancelled if the browser has disconnected."""
        self._response = response
        self._send = send
        self._cancel_scope = listening
        self._lock = anyio.Lock(fast_acquire=True)
        self.started = False
        self.last = monotonic()

    async def send(self, data: bytes, *, more: bool = True) -> None:
        """Send a piece of the body."""
        async with self._lock:
            self.last = monotonic()
            try:
                if not self.started:
                    self.started = True
                    await self._start()
                await self._send({"type": "http.response.body", "body": data, "more_body": more})
            except OSError:  # by this a server may report a disconnect, since ASGI 2.4
                self._cancel_scope.cancel()

    async def _start(self) -> None:
        head = {"status": self._response.status_code, "headers": self._response.raw_headers}
        await self._send({"type": "http.response.start", **head})


class _Relay(ABC, StreamingResponse):
    """A response that relays a stream of the client; subclasses define the format."""

    beat: ClassVar[bytes] = b""

    def __init__(
        self,
        stream: AsyncStream,
        *,
        heartbeat: float | None = 15.0,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        positive = isinstance(heartbeat, int | float) and heartbeat > 0
        if heartbeat is not None and not positive:
            raise ValueError(
                f"heartbeat must be more than 0 seconds or None, got {heartbeat!r:.80}"
            )
        super().__init__((), status_code, {**UNBUFFERED, **(headers or {})}, None, background)
        self._stream = stream
        self._heartbeat = heartbeat

    @abstractmethod
    def step(self, chunk: Chunk) -> bytes:
        """Return a formatted chunk; empty if it has nothing to show."""

    @abstractmethod
    def end(self, answer: Response) -> bytes:
        """Return the formatted end of a complete answer."""

    @abstractmethod
    def failure(self, problem: Problem) -> bytes:
        """Return a formatted error in the middle of an answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, until its end or until the browser disconnects."""
        listener: DisconnectListener | None = scope.get(LISTENER)
        if listener is not None:
            listener.leave_to_response()
        async with block_tasks() as tasks:
            output = _BodySender(self, send, tasks.cancel_scope)
            tasks.start_soon(self._listen, receive, tasks.cancel_scope)
            if self._heartbeat is not None:
                tasks.start_soon(self._beat, self._heartbeat, output)
            await self._relay(output, scope["path"])
        if not output.started:
            # The browser has disconnected, but middlewares need a response, to log its status.
            with contextlib.suppress(OSError):
                await HTTPResponse(status_code=CLIENT_CLOSED_REQUEST)(scope, receive, send)
        if self.background is not None:
            await self.background()

    async def _listen(self, receive: Receive, relaying: anyio.CancelScope) -> None:
        await until_disconnect(receive)
        relaying.cancel()

    async def _beat(self, heartbeat: float, output: _BodySender) -> None:
        """Send heartbeats while nothing else is sent."""
        while True:
            silence = monotonic() - output.last
            if silence >= heartbeat:
                await output.send(self.beat)
                silence = 0.0
            await anyio.sleep(heartbeat - silence)

    async def _relay(self, output: _BodySender, path: str) -> None:
        try:
            async with self._stream as stream:
                async for chunk in stream:
                    if step := self.step(chunk):
                        await output.send(step)
                last = self.end(stream.response)
        except DashScopeError as error:
            if not output.started:
                raise
            problem = Problem.of(error)
            log(error, path, problem)
            last = self.failure(problem)
        await output.send(last, more=False)


class EventStream(_Relay):
    r"""An answer as server-sent events, for EventSource and for readers of fetch.

    Events `message` have `{"delta": ...}`, and `tool_calls` and `index` if there are any. The last
    event is `done` with `finish_reason`, `usage` and `request_id`, or `error` with `status`,
    `code`, `message` and `request_id`. Ids count from 1. An EventSource that reconnects after the
    end gets a 204, which tells it to stop, so that the question is not asked and billed twice.

    Args:
        stream: what `Client.astream` returns, not opened yet.
        heartbeat: after this many seconds without data a comment is sent; None for never.
        status_code: HTTP status of a successful response.
        headers: HTTP headers, in addition to those that prevent buffering by proxies.
        background: a task to run afterwards, also after a disconnect; `stream.text` then has the
            text received so far.

    Raises:
        ValueError: `heartbeat` is not above 0.
        DashScopeError: the call fails before the first chunk; `add_exception_handlers` makes it a
            4xx or 5xx.
    """

    media_type: str | None = "text/event-stream"
    beat = b": ping\n\n"
    _id = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response; 204 to a browser that reconnects."""
        if "last-event-id" in Headers(scope=scope):
            await HTTPResponse(status_code=204)(scope, receive, send)
            return
        await super().__call__(scope, receive, send)

    def step(self, chunk: Chunk) -> bytes:
        """Return an event for a chunk; empty if it has nothing to show."""
        data = _delta(chunk)
        return self._event("message", data) if data else b""

    def end(self, answer: Response) -> bytes:
        """Return the event that tells the browser to close its EventSource."""
        return self._event("done", _summary(answer))

    def failure(self, problem: Problem) -> bytes:
        """Return the event of an error."""
        return self._event("error", problem.to_event())

    def _event(self, name: str, data: Mapping[str, Any]) -> bytes:
        self._id += 1
        return f"event: {name}\nid: {self._id}\ndata: {_json(data)}\n\n".encode()


class JSONLines(_Relay):
    """An answer as JSON lines: the data of `EventStream`'s events, one per line.

    The last line has `finish_reason`, or `error` with an object. Heartbeats are empty lines.

    Args:
        stream: what `Client.astream` returns, not opened yet.
        heartbeat: after this many seconds without data an empty line is sent; None for never.
        status_code: HTTP status of a successful response.
        headers: HTTP headers, in addition to those that prevent buffering by proxies.
        background: a task to run afterwards, also after a disconnect.

    Raises:
        ValueError: `heartbeat` is not above 0.
        DashScopeError: see `EventStream`.
    """

    media_type: str | None = "application/jsonl"
    beat = b"\n"

    def step(self, chunk: Chunk) -> bytes:
        """Return a line for a chunk; empty if it has nothing to show."""
        data = _delta(chunk)
        return _line(data) if data else b""

    def end(self, answer: Response) -> bytes:
        """Return the last line of an answer."""
        return _line(_summary(answer))

    def failure(self, problem: Problem) -> bytes:
        """Return the line of an error."""
        return _line({"error": problem.to_event()})


class TextStream(_Relay):
    """An answer as plain text; an error in the middle is a last line in brackets.

    Plain text has no heartbeats, and only the first of several answers (`n`) is sent.

    Args:
        stream: what `Client.astream` returns, not opened yet.
        status_code: HTTP status of a successful response.
        headers: HTTP headers, in addition to those that prevent buffering by proxies.
        background: a task to run afterwards, also after a disconnect.

    Raises:
        DashScopeError: see `EventStream`.
    """

    media_type: str | None = "text/plain"

    def __init__(
        self,
        stream: AsyncStream,
        *,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        super().__init__(
            stream, heartbeat=None, status_code=status_code, headers=headers, background=background
        )

    def step(self, chunk: Chunk) -> bytes:
        """Return the new text."""
        return chunk.delta.encode() if chunk.index == 0 else b""

    def end(self, answer: Response) -> bytes:
        """Return nothing: the text is complete."""
        del answer
        return b""

    def failure(self, problem: Problem) -> bytes:
        """Return the error as a separate line."""
        where = f" (request_id {problem.request_id})" if problem.request_id else ""
        return f"\n[{problem.code}: {problem.message}{where}]\n".encode()


def _delta(chunk: Chunk) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if chunk.delta or chunk.tool_calls:
        data["delta"] = chunk.delta
        if chunk.tool_calls:
            data["tool_calls"] = [call.to_dict() for call in chunk.tool_calls]
        if chunk.index:
            data["index"] = chunk.index
    return data


def _summary(answer: Response) -> dict[str, Any]:
    usage = answer.usage.to_dict() if answer.usage else None
    return {
        "finish_reason": answer.finish_reason,
        "usage": usage,
        "request_id": answer.request_id,
    }


def _json(data: Mapping[str, Any]) -> str:
    try:
        return _encode(data)
    except ValueError:  # NaN and infinity, which no browser reads
        return _encode(json.loads(json.dumps(data), parse_constant=lambda _: None))


def _line(data: Mapping[str, Any]) -> bytes:
    return _json(data).encode() + b"\n"
