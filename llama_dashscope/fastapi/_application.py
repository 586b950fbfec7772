"""One client for the application, and how a handler asks for it."""

import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from starlette.requests import HTTPConnection

from llama_dashscope import Client

from ._disconnect import DEPARTURE, Departure, DisconnectMiddleware

__all__ = ["ClientDep", "get_client", "lifespan"]


@asynccontextmanager
async def lifespan(app: FastAPI, client: Client | None = None) -> AsyncGenerator[None, None]:
    """Open a client with the application and close it with the application.

    It is a lifespan as FastAPI takes it, `FastAPI(lifespan=lifespan)`, and goes into one that the
    application already has: `async with lifespan(app): yield`.

    While it is open, a handler that takes `ClientDep` is cancelled when its browser leaves, and
    with it the call to the service.

    Args:
        app: the application.
        client: the client to use, and to close; by default `Client()`, set up by the environment.

    Raises:
        ConfigurationError: what the environment says can't be right.
    """
    stack = app.middleware_stack
    async with client or Client() as opened:
        app.state.dashscope = opened
        # The way in for whoever comes by lifespan: `add_middleware` is refused once it has begun.
        app.middleware_stack = DisconnectMiddleware(stack or app.build_middleware_stack())
        try:
            yield
        finally:
            app.middleware_stack = stack
            del app.state.dashscope


async def get_client(connection: HTTPConnection) -> Client:
    """Return the application's client; what `dependency_overrides` replaces in tests.

    Raises:
        RuntimeError: the application has no `lifespan`.
    """
    client: Client | None = getattr(connection.app.state, "dashscope", None)
    if client is None:
        raise RuntimeError(
            "this application has no client: make it with FastAPI(lifespan=lifespan), or put"
            " 'async with lifespan(app)' into the lifespan that it has"
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
