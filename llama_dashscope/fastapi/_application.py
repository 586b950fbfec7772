"""One client for the application, and how a handler asks for it."""

import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Final

from fastapi import Depends, Request
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from llama_dashscope import Client

from ._disconnect import DEPARTURE, Departure, DisconnectMiddleware

__all__ = ["ClientDep", "get_client", "lifespan"]

CLIENT: Final = "llama_dashscope.client"
"""Where a request's scope holds the client. Applications mounted under another share its scope."""


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
    """Open a client with the application and close it with the application.

    It is a lifespan as FastAPI takes it, `FastAPI(lifespan=lifespan)`, and goes into one that the
    application already has: `async with lifespan(app): yield`.

    While it is open, a handler that takes `ClientDep` is cancelled when its browser leaves, and
    with it the call to the service. Handlers of applications that are mounted under this one take
    the same client.

    Args:
        app: the application, of FastAPI or Starlette.
        client: the client to use, and to close; by default `Client()`, set up by the environment.

    Raises:
        ConfigurationError: what the environment says can't be right.
    """
    stack = app.middleware_stack
    async with client or Client() as opened:
        app.state.dashscope = opened
        # The way in for whoever comes by lifespan: `add_middleware` is refused once it has begun.
        inner = DisconnectMiddleware(stack or app.build_middleware_stack())
        app.middleware_stack = _ClientMiddleware(inner, opened)
        try:
            yield
        finally:
            app.middleware_stack = stack
            del app.state.dashscope


async def get_client(connection: HTTPConnection) -> Client:
    """Return the application's client; what `dependency_overrides` replaces in tests.

    Raises:
        RuntimeError: neither the application nor one that it is mounted under has a `lifespan`.
    """
    client: Client | None = connection.scope.get(CLIENT)
    if client is None:
        raise RuntimeError(
            "this application has no client: make it with FastAPI(lifespan=lifespan), or put"
            " 'async with lifespan(app)' into the lifespan that it has; an application mounted"
            " under another has no lifespan of its own, so there it goes to the outer one"
        )
    return client


async def _until_disconnect(
    connection: HTTPConnection, client: Annotated[Client, Depends(get_client)]
) -> Client:
    """Return the client to a handler that ends when its browser leaves."""
    departure: Departure | None = connection.scope.get(DEPARTURE)
    if departure is not None and isinstance(connection, Request):
        with contextlib.suppress(RuntimeError):  # a form has been read already, as a stream
            await connection.body()
        departure.listen()
    return client


ClientDep = Annotated[Client, Depends(_until_disconnect)]
"""The application's client, for `async def` and `def` handlers alike.

The handler is cancelled when its browser leaves; a WebSocket's handler hears that by itself.
"""
