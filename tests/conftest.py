"""What every test can count on: both event loops, a clean environment, no way off this machine."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from client_matrix import LEGS, Leg
from hypothesis import settings

from llama_dashscope.testing import LocalDashScope

GUARD = Path(__file__).parent / "_support" / "guard"
OURS = ("DASHSCOPE_", "LLAMA_DASHSCOPE_")
PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def load_guard() -> None:
    """Put the hook of _support/guard/sitecustomize.py into this process."""
    spec = importlib.util.spec_from_file_location("guard", GUARD / "sitecustomize.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


load_guard()


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # pragma: no cover  # as shells leave it
    # What a shell starts in the background ignores Ctrl-C, and so would the programs under test.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run each async test on both event loops."""
    return str(request.param)


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the tests a home without a key file."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, empty_home: Path) -> None:
    """Forget keys, addresses and proxies of the machine, here and in programs started here."""
    for name in list(os.environ):
        if name.startswith(OURS) or name.upper() in PROXIES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(empty_home))
    monkeypatch.setenv("USERPROFILE", str(empty_home))
    monkeypatch.setenv("PYTHONPATH", str(GUARD), prepend=os.pathsep)


@pytest.fixture
def server() -> Iterator[LocalDashScope]:
    """Run a DashScope on this machine."""
    with LocalDashScope() as running:
        yield running


@pytest.fixture(params=LEGS, ids=str)
def leg(request: pytest.FixtureRequest) -> Leg:
    """Run a test on each face over each transport on each event loop."""
    assert isinstance(request.param, Leg)
    return request.param
