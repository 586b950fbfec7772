"""One client per application, and the dependency by which handlers get it."""

import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Final

from fastapi import Depends, Request
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from llama_dashscope import Client

from ._disconnect import LISTENER, DisconnectListener, DisconnectMiddleware

__all__ = ["ClientDep", "get_client", "lifespan"]

CLIENT: Final = "llama_dashscope.client"
"""The key of the client in a request's scope, which mounted applications share."""


class _ClientMiddleware:
    """Puts the client into the scope of each request and WebSocket."""

    def __init__(self, app: ASGIApp, client: Client) -> None:
        self._app = app
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[CLIENT] = self._client
        await self._app(scope, receive, send)


@asynccontextmanager
async def lifespan(app: Starlette, client: Client | None = None) -> AsyncGenerator[None, None]:
    """Open a client when the application starts, and close it when the application ends.

    Use it as FastAPI's lifespan, `FastAPI(lifespan=lifespan)`, or within the lifespan that the
    application already has: `async with lifespan(app): yield`.

    While it is open, a handler that takes `ClientDep` is cancelled when its browser disconnects,
    and so is its call to the service. Handlers of applications mounted under this one get the same
    client.

    Args:
        app: the application, of FastAPI or Starlette.
        client: the client to use and to close; by default `Client()`.

    Raises:
        ConfigurationError: a setting in the environment is invalid.
    """
    stack = app.middleware_stack
    async with client or Client() as opened:
        app.state.dashscope = opened
        # By hand, since `add_middleware` is refused once the application has started.
        inner = DisconnectMiddleware(stack or app.build_middleware_stack())
        app.middleware_stack = _ClientMiddleware(inner, opened)
        try:
            yield
        finally:
            app.middleware_stack = stack
            del app.state.dashscope


async def get_client(connection: HTTPConnection) -> Client:
    """Return the application's client; tests replace it by `dependency_overrides`.

    Raises:
        RuntimeError: neither the application nor one that it is mounted under uses `lifespan`.
    """
    client: Client | None = connection.scope.get(CLIENT)
    if client is None:
        raise RuntimeError(
            "this application has no client: make it with FastAPI(lifespan=lifespan), or put"
            " 'async with lifespan(app)' into its own lifespan; for a mounted application, do this"
            " in the outer application, since the lifespan of a mounted one is never run"
        )
    return client


async def _until_disconnect(
    connection: HTTPConnection, client: Annotated[Client, Depends(get_client)]
) -> Client:
    """Return the client, and cancel the handler when its browser disconnects."""
    listener: DisconnectListener | None = connection.scope.get(LISTENER)
    if listener is not None and isinstance(connection, Request):
        with contextlib.suppress(RuntimeError):  # the body was a form and is already read
            await connection.body()
        listener.listen()
    return client


ClientDep = Annotated[Client, Depends(_until_disconnect)]
"""The application's client, for `async def` and `def` handlers.

The handler is cancelled when its browser disconnects, except for WebSockets, whose handlers notice
that themselves.
"""
