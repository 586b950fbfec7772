"""llama.cpp behind the local DashScope, with a tiny random Llama on this machine's CPU.

Its name keeps it out of the default run; `nox -s upstream_real` brings what it needs and runs it.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from llama_dashscope import BadRequestError, Client, Message
from llama_dashscope.testing import LocalDashScope, Upstream

from . import tiny_llama

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "llama3.3-70b-instruct"
QUESTION = [Message("user", "tell me")]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run llama.cpp's server, and give its address."""
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    tiny_llama.write(path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    program = [sys.executable, "-m", "llama_cpp.server", "--model", str(path), "--n_ctx", "512"]
    with subprocess.Popen([*program, "--port", str(port), "--n_threads", "1"]) as process:
        url = f"http://127.0.0.1:{port}/v1"
        try:
            _wait(url, process)
            yield url
        finally:
            process.kill()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):  # a server gives no other sign of being ready than an answer
        assert process.poll() is None
        try:
            httpx.get(f"{url}/models").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return
    pytest.fail("llama.cpp's server did not start")


@pytest.fixture
def server(engine: str) -> Iterator[LocalDashScope]:
    """Put it behind a local DashScope."""
    with LocalDashScope() as server:
        server.reply(Upstream(engine))
        yield server


@pytest.fixture
def client(server: LocalDashScope) -> Iterator[Client]:
    """Call that."""
    with Client(server.api_key, base_url=server.base_url, retry=0) as client:
        yield client


def test_a_call(client: Client) -> None:
    """The model's words come through, with its own count of tokens."""
    response = client.call(MODEL, messages=QUESTION, max_tokens=8, temperature=0.0)

    assert len(response.text.split()) > 1
    assert response.text.replace(" ", "").isalpha()
    assert response.usage is not None
    assert response.usage.output_tokens == 8


def test_a_stream_says_what_the_call_says(client: Client) -> None:
    """At temperature 0 both are the same, incremental or cumulative."""
    whole = client.call(MODEL, messages=QUESTION, max_tokens=12, temperature=0.0).text
    for incremental in (True, False):
        with client.stream(
            MODEL,
            messages=QUESTION,
            max_tokens=12,
            temperature=0.0,
            incremental_output=incremental,
        ) as stream:
            chunks = list(stream)

        assert "".join(chunk.delta for chunk in chunks) == whole
        assert chunks[-1].finish_reason == "length"


def test_a_stop_string(client: Client) -> None:
    """The model stops where it is told."""
    whole = client.call(MODEL, messages=QUESTION, max_tokens=12, temperature=0.0).text
    stop = whole[len(whole) // 2 :][:3]

    response = client.call(MODEL, messages=QUESTION, max_tokens=12, temperature=0.0, stop=stop)

    assert response.text == whole[: whole.index(stop)]


def test_a_client_that_leaves(client: Client, server: LocalDashScope) -> None:
    """The engine is free for the next call at once."""
    with client.stream(MODEL, messages=QUESTION, max_tokens=400) as stream:
        next(iter(stream))

    server.wait_idle()
    assert server.exchanges[0].outcome == "client left"
    assert client.call(MODEL, messages=QUESTION, max_tokens=1).text


def test_what_the_engine_refuses(client: Client) -> None:
    """More than the context holds is the engine's error, in DashScope's words."""
    with pytest.raises(BadRequestError, match="maximum context length is 512") as info:
        client.call(MODEL, messages=[Message("user", "la " * 2000)])

    assert info.value.code == "InvalidParameter"
