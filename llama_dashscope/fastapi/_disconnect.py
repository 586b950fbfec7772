"""When the browser leaves: who hears of it, and what ends then.

A server tells it by the message `http.disconnect`, to whoever asks for the request's next message
once its body has been read (https://asgi.readthedocs.io/en/latest/specs/www.html).
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.abc import TaskGroup
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["DEPARTURE", "Departure", "DisconnectMiddleware", "block_tasks", "until_left"]

DEPARTURE: Final = "llama_dashscope.departure"
"""Where a request's scope holds its `Departure`."""


@asynccontextmanager
async def block_tasks() -> AsyncGenerator[TaskGroup, None]:
    """Open a task group that ends with its block and lets the block's exception out as it is."""
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
            failure = None  # it holds this frame: without the circle both go at once


async def until_left(receive: Receive) -> None:
    """Wait until the browser leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Departure:
    """Cancels the handling of one request when its browser leaves, from when it is told to."""

    def __init__(self, receive: Receive, send: Send, tasks: TaskGroup) -> None:
        """Stand between a server and an application, whose handling `tasks` can cancel."""
        self._receive = receive
        self._send = send
        self._tasks = tasks
        self._left: anyio.Event | None = None
        self._cancels = False

    def listen(self) -> None:
        """Begin; the request's body must have been read, as its messages are passed over."""
        self._cancels = True
        self._left = anyio.Event()
        self._tasks.start_soon(self._listen, self._left)

    def leave_to_response(self) -> None:
        """Cancel nothing any more: the response listens for itself."""
        self._cancels = False

    async def _listen(self, left: anyio.Event) -> None:
        await until_left(self._receive)
        left.set()
        if self._cancels:
            self._tasks.cancel_scope.cancel()

    async def receive(self) -> Message:
        """Return the request's next message."""
        if self._left is None:
            return await self._receive()
        # A server need not say it twice, so that whoever else asks hears it from the listener.
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Pass on a message of the response; what runs after its last one may run to its end."""
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._cancels = False
        await self._send(message)


class DisconnectMiddleware:
    """Gives each request a `Departure`, which does nothing until it is told to."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand in front of an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, until its browser leaves."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        async with block_tasks() as tasks:
            departure = Departure(receive, send, tasks)
            scope[DEPARTURE] = departure
            await self._app(scope, departure.receive, departure.send)
