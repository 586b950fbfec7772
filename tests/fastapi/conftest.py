"""A DashScope and a web server on this machine, and browsers that leave when they are told to."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import attrs
import httpx
import pytest

from llama_dashscope.testing import LocalDashScope

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.applications import Starlette


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalDashScope]:
    """Point the environment at a DashScope on this machine."""
    with LocalDashScope() as server:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        yield server


@asynccontextmanager
async def browsing(app: Starlette) -> AsyncGenerator[httpx.AsyncClient]:
    """Start an application in this process, and give a browser that sees nothing else."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(app)
        yield await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://test")
        )


@attrs.frozen
class Site:
    """An application behind uvicorn."""

    port: int

    @property
    def url(self) -> str:
        """Return the address of its front page."""
        return f"http://127.0.0.1:{self.port}"

    def visit(self, path: str, body: bytes | None = None, **headers: str) -> socket.socket:
        """Ask for a page as a browser does; closing what this returns is leaving."""
        lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", "Host: 127.0.0.1"]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        browser = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        browser.sendall("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        return browser


@contextmanager
def running(app: FastAPI) -> Generator[Site]:
    """Run an application under uvicorn until the block ends."""
    uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        program = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
        up = threading.Event()
        startup = program.startup

        async def tell(sockets: list[socket.socket] | None = None) -> None:
            await startup(sockets)
            up.set()

        program.startup = tell
        thread = threading.Thread(target=program.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert up.wait(30)
            yield Site(listener.getsockname()[1])
        finally:
            program.should_exit = True
            thread.join()


@pytest.fixture
def serve(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[FastAPI], Site]]:
    """Give a function that puts an application behind uvicorn for the rest of a test.

    Nobody's leaving is worth a word in the server's log.
    """
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(running(app))
    assert [entry.message for entry in caplog.records if entry.levelno >= logging.WARNING] == []
