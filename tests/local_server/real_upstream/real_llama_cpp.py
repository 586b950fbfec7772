"""llama.cpp behind the local DashScope, with a tiny random Llama on this machine's CPU.

Its name keeps it out of the default run; `nox -s upstream_real` brings what it needs and runs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from llama_dashscope import BadRequestError, Client, Message
from llama_dashscope.testing import LocalDashScope, Upstream

from . import tiny_llama

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "llama3.3-70b-instruct"
SERVERS: list[Any] = []
"""Kept until the process ends: the server ends with the object."""
QUESTION = [Message("user", "tell me")]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Run llama.cpp's server in this process, and give its address."""
    xllamacpp: Any = import_module("xllamacpp")
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    tiny_llama.write(path)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.port = 0
    params.n_ctx = 512
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    SERVERS.append(xllamacpp.Server(params))
    return f"{SERVERS[-1].listening_address}/v1"


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
    with pytest.raises(BadRequestError, match="exceeds the available context size") as info:
        client.call(MODEL, messages=[Message("user", "la " * 2000)])

    assert info.value.code == "InvalidParameter"
