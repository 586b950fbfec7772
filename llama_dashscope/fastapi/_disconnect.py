"""Cancels the handling of a request when its browser disconnects.

The server reports this by the message `http.disconnect`, which the application receives after the
request's body (https://asgi.readthedocs.io/en/latest/specs/www.html).
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.abc import TaskGroup
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = [
    "LISTENER",
    "DisconnectListener",
    "DisconnectMiddleware",
    "block_tasks",
    "until_disconnect",
]

LISTENER: Final = "llama_dashscope.disconnect_listener"
"""The key of the `DisconnectListener` in a request's scope."""


@asynccontextmanager
async def block_tasks() -> AsyncGenerator[TaskGroup, None]:
    """Open a task group that is cancelled at the end of its block.

    An exception of the block is raised as it is, not in an ExceptionGroup.
    """
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        except Exception as error:  # noqa: BLE001  # raised again below, outside of the group
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        try:
            raise failure
        finally:
            failure = None  # else exception and frame would refer to each other


async def until_disconnect(receive: Receive) -> None:
    """Wait until the browser disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass


class DisconnectListener:
    """Cancels the handling of one request when its browser disconnects, once it is activated."""

    def __init__(self, receive: Receive, send: Send, tasks: TaskGroup) -> None:
        """Wrap a request's `receive` and `send`; cancelling `tasks` cancels its handling."""
        self._receive = receive
        self._send = send
        self._tasks = tasks
        self._disconnected: anyio.Event | None = None
        self._cancels = False

    def listen(self) -> None:
        """Activate; the request's body must have been read, since its messages are dropped."""
        self._cancels = True
        self._disconnected = anyio.Event()
        self._tasks.start_soon(self._listen, self._disconnected)

    def leave_to_response(self) -> None:
        """Stop cancelling: the response listens for itself."""
        self._cancels = False

    async def _listen(self, disconnected: anyio.Event) -> None:
        await until_disconnect(self._receive)
        disconnected.set()
        if self._cancels:
            self._tasks.cancel_scope.cancel()

    async def receive(self) -> Message:
        """Return the request's next message."""
        if self._disconnected is None:
            return await self._receive()
        # A server may send it only once, so other receivers get it from the listener.
        await self._disconnected.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Pass on a message of the response; after the last one, nothing is cancelled any more."""
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._cancels = False
        await self._send(message)


class DisconnectMiddleware:
    """Gives each request a `DisconnectListener`, not yet activated."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        async with block_tasks() as tasks:
            listener = DisconnectListener(receive, send, tasks)
            scope[LISTENER] = listener
            await self._app(scope, listener.receive, listener.send)
