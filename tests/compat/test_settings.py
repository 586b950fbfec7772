"""Settings of the module, and the one client that all calls share."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import llama_dashscope
from llama_dashscope import ConfigurationError, Generation
from llama_dashscope.testing import LocalDashScope

MODEL = "llama3.3-70b-instruct"
MESSAGES = [{"role": "user", "content": "hi"}]


def ask(key: str | None = None) -> int:
    """Call and return the status."""
    return Generation.call(MODEL, messages=MESSAGES, api_key=key).status_code


async def aask() -> int:
    """Call in async code and return the status."""
    return (await Generation.acall(MODEL, messages=MESSAGES)).status_code


@pytest.mark.usefixtures("program")
def test_settings_of_the_module() -> None:
    """Key and address that a program sets on the module hold for its next call."""
    assert ask() == 200


def test_settings_of_the_environment(
    server: LocalDashScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So do those of the environment."""
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)

    assert ask() == 200


def test_key_file_of_the_module(
    server: LocalDashScope, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file for the key can be named on the module."""
    path = tmp_path / "key"
    path.write_text(server.api_key, encoding="utf-8")
    monkeypatch.setattr(llama_dashscope, "api_key_file_path", str(path))
    monkeypatch.setattr(llama_dashscope, "base_http_api_url", server.base_url)

    assert ask() == 200


def test_a_key_belongs_to_its_call(
    program: LocalDashScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call goes out with the key of another."""
    assert ask(program.api_key) == 200
    assert ask("sk-wrong") == 401

    monkeypatch.setattr(llama_dashscope, "api_key", None)
    with pytest.raises(ConfigurationError, match="api_key is missing"):
        ask()

    assert [each.api_key for each in program.requests] == [program.api_key, "sk-wrong"]


@pytest.mark.usefixtures("program")
def test_an_address_belongs_to_its_call(server: LocalDashScope) -> None:
    """`base_address` sends one call elsewhere."""
    with LocalDashScope() as other:
        Generation.call(MODEL, messages=MESSAGES, base_address=other.base_url)
        ask()

        assert len(other.requests) == len(server.requests) == 1


def test_calls_share_connections(program: LocalDashScope) -> None:
    """Sync calls in a row use one connection, and async calls of one loop another."""

    async def twice() -> list[int]:
        return [await aask(), await aask()]

    assert [ask(), ask(), *asyncio.run(twice()), *trio.run(twice)] == [200] * 6
    assert program.connections_accepted == 3


@pytest.mark.usefixtures("program")
def test_sessions_of_the_sdk_are_closed() -> None:
    """Programs do this at their end; others in the process go on."""
    before = ask()
    llama_dashscope.close_shared_sync_session()
    asyncio.run(llama_dashscope.close_shared_aio_session())

    assert [before, ask()] == [200, 200]


@pytest.mark.usefixtures("program")
def test_a_region_is_an_address() -> None:
    """`set_region` sets the address of the module."""
    llama_dashscope.set_region("cn-beijing", "ws-1")

    assert llama_dashscope.base_http_api_url == "https://ws-1.cn-beijing.maas.aliyuncs.com/api/v1"


@pytest.mark.parametrize(
    ("region", "workspace", "named"),
    [
        ("mars", "ws-1", "region"),
        ("cn-beijing", None, "workspace_id"),
        ("cn-beijing", "a/b", "a/b"),
    ],
)
def test_a_region_that_is_none(region: str, workspace: str | None, named: str) -> None:
    """What can be no part of an address is refused by name."""
    before = llama_dashscope.base_http_api_url

    with pytest.raises(ValueError, match=named):
        llama_dashscope.set_region(region, workspace)
    assert llama_dashscope.base_http_api_url == before


PROGRAM = """
import os, llama_dashscope
from llama_dashscope import Generation

def ask():
    return Generation.call("llama3.3-70b-instruct", messages=[{"role": "user", "content": "hi"}])

assert ask().status_code == 200
for response in Generation.call("llama3.3-70b-instruct", prompt="hi", messages=[], stream=True):
    pass
if FORK:
    child = os.fork()
    assert ask().status_code == 200
    if child:
        assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize(
    "fork",
    [
        False,
        pytest.param(
            True,
            marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
        ),
    ],
    ids=["exit", "fork"],
)
def test_a_program_ends_in_good_order(server: LocalDashScope, fork: bool) -> None:
    """A program that closes nothing ends without a word; a fork answers on both sides."""
    code = f"FORK = {fork}\n{PROGRAM}"
    # Python warns of every fork of a program with threads, and the child of what its parent left
    # open; that neither matters is what the test is about.
    warnings = "ignore" if fork else "error"

    ended = subprocess.run(
        [sys.executable, "-W", warnings, "-c", code],
        env={**os.environ, **server.environ},
        cwd=Path(llama_dashscope.__file__).parents[1],
        capture_output=True,
        check=False,
        timeout=30,
    )

    assert (ended.stderr.decode(), ended.returncode) == ("", 0)
    assert len(server.requests) == (4 if fork else 2)
    server.wait_for(lambda server: server.open_connections == 0)
