"""A server, and the plainest ways to call it."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import pytest

from llama_dashscope.testing import LocalDashScope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODEL = "llama3.3-70b-instruct"
PATH = "/api/v1/services/aigc/text-generation/generation"


class Call(Protocol):
    """Posts one request and gives back the whole answer."""

    def __call__(  # noqa: D102 - as the class
        self,
        text: str = "Who are you?",
        *,
        sse: bool = False,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        **parameters: object,
    ) -> httpx.Response: ...


@pytest.fixture
def server() -> Iterator[LocalDashScope]:
    """Run a server for one test."""
    with LocalDashScope() as server:
        yield server


@pytest.fixture
def http(server: LocalDashScope) -> Iterator[httpx.Client]:
    """Connect to it, without gzip so that bytes can be compared."""
    headers = {"authorization": f"Bearer {server.api_key}", "accept-encoding": "identity"}
    with httpx.Client(base_url=server.origin, headers=headers, timeout=10) as client:
        yield client


@pytest.fixture
def call(http: httpx.Client) -> Call:
    """Call the model."""

    def call(
        text: str = "Who are you?",
        *,
        sse: bool = False,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        **parameters: object,
    ) -> httpx.Response:
        messages = [{"role": "user", "content": text}]
        whole = {"model": MODEL, "input": {"messages": messages}, "parameters": parameters}
        sse_header = {"x-dashscope-sse": "enable"} if sse else {}
        return http.post(PATH, json=body or whole, headers={**sse_header, **(headers or {})})

    return call


@pytest.fixture
def raw(server: LocalDashScope) -> Iterator[socket.socket]:
    """Connect a bare socket."""
    with socket.create_connection((server.host, server.port), timeout=10) as sock:
        yield sock


@pytest.fixture
def request_bytes() -> Callable[..., bytes]:
    """Write a whole request by hand."""

    def write(*lines: str, body: bytes | None = None, http_version: str = "1.1") -> bytes:
        if body is None:
            messages = [{"role": "user", "content": "Who are you?"}]
            body = json.dumps({"model": MODEL, "input": {"messages": messages}}).encode()
        length = [] if any("transfer-encoding" in each for each in lines) else [len(body)]
        head = [
            f"POST {PATH} HTTP/{http_version}",
            "host: 127.0.0.1",
            "authorization: Bearer sk-local",
            *(f"content-length: {each}" for each in length),
            *lines,
        ]
        return "\r\n".join([*head, "", ""]).encode() + body

    return write
