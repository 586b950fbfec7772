"""Imports at the first call: forks and event loops don't suffer from them."""

from __future__ import annotations

import os
import ssl
import threading
from contextlib import suppress

import anyio
import anyio.to_thread
import pytest
from client_matrix import HAS_AIOHTTP, MODEL
from programs import run_program

from llama_dashscope import Client, _late_imports
from llama_dashscope._late_imports import LateImports, guarded_from_forks
from llama_dashscope._network import tls
from llama_dashscope._settings import Limits, Network
from llama_dashscope.testing import LocalDashScope

TRANSPORTS = ["httpx", "aiohttp"] if HAS_AIOHTTP else ["httpx"]

PROGRAM = """
import asyncio, os, sys, threading, time
from llama_dashscope import Client

transport, base_url, way, delay = sys.argv[1:]
client = Client("sk-local", base_url=base_url, transport=transport)

def ask():
    if way == "sync":
        return client.call({model!r}, "hi").text
    return asyncio.run(client.acall({model!r}, "hi")).text

first = threading.Thread(target=ask)
first.start()
time.sleep(float(delay))
pid = os.fork()
if not pid:
    os._exit(0 if ask() else 1)
first.join()
assert os.waitpid(pid, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("delay", [0.01, 0.05, 0.15])
@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_fork_while_another_thread_makes_its_first_call(
    transport: str, way: str, delay: float, server: LocalDashScope
) -> None:
    """The child doesn't wait for an import of a thread that it hasn't got."""
    program = PROGRAM.format(model=MODEL)

    assert run_program(program, server, transport, way, str(delay)) == (0, "", "")


@pytest.fixture
def importing() -> LateImports:
    """Make late imports that no fork of this process waits for."""
    return LateImports()


def may_fork(importing: LateImports) -> bool:
    """Tell whether another thread could take the lock."""
    taken: list[bool] = []

    def take() -> None:
        taken.append(importing._lock.acquire(blocking=False))
        if taken[0]:
            importing._lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return taken[0]


def test_a_fork_waits_for_an_import(importing: LateImports) -> None:
    """Until the import has ended, and not longer; so do other imports for the fork."""
    forked = threading.Event()

    def fork() -> None:
        importing.before_fork()
        forked.set()
        importing.after_fork_in_parent()

    with importing:
        forking = threading.Thread(target=fork)
        forking.start()
        assert not forked.wait(0.1)
    assert forked.wait(30)
    forking.join()
    with importing:
        pass


def test_a_fork_waits_for_a_tls_context(
    importing: LateImports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL holds locks while it makes one, and a forked process would wait for them."""
    monkeypatch.setattr(tls, "late_imports", importing)
    network = Network("https://x", None, True, True, Limits(), "auto")
    held: list[bool] = []

    def make(*_: object, **__: object) -> ssl.SSLContext:
        held.append(not may_fork(importing))
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    monkeypatch.setattr(tls, "_ssl_context", make)
    tls.tls_context(network)

    assert held == [True]
    assert may_fork(importing)


def test_a_fork_within_an_import(importing: LateImports) -> None:
    """A signal handler may fork in the very thread that imports."""
    with importing:
        importing.before_fork()
        importing.after_fork_in_parent()
        importing.before_fork()
        importing.after_fork_in_child()


def test_a_fork_that_has_waited_long_enough(
    importing: LateImports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on without the lock: the parent's import keeps it, the child has a new one."""
    monkeypatch.setattr(_late_imports, "PATIENCE", 0.01)
    entered, leave = threading.Event(), threading.Event()

    def long() -> None:
        with suppress(RuntimeError), importing:  # where it goes on, in the parent, nothing is new
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=long)
    thread.start()
    entered.wait(30)
    importing.before_fork()
    importing.after_fork_in_parent()
    importing.before_fork()
    importing.after_fork_in_child()
    with importing:
        pass
    leave.set()
    thread.join()


def test_a_system_without_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to be guarded from."""
    monkeypatch.delattr(os, "register_at_fork", raising=False)

    with guarded_from_forks():
        pass


async def no_thread(*_: object, **__: object) -> None:
    """Fail as a system does that has no more threads."""
    raise RuntimeError("can't start new thread")


def test_a_first_call_without_threads(
    server: LocalDashScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The libraries are imported in the event loop's own."""
    monkeypatch.setattr("llama_dashscope._network.loading._loaded", set[str]())
    monkeypatch.setattr(anyio.to_thread, "run_sync", no_thread)

    assert anyio.run(Client(server.api_key, base_url=server.base_url).acall, MODEL, "hi").text
