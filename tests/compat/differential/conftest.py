"""The two packages, and the server that both of them meet."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import cast

import pytest

import llama_dashscope
from llama_dashscope.testing import LocalDashScope

from .observe import Sdk

SETTINGS = ("api_key", "api_key_file_path", "base_http_api_url")


@pytest.fixture(scope="session")
def server() -> Iterator[LocalDashScope]:
    """Run one server for all cases; each begins with a reset."""
    with LocalDashScope() as running:
        yield running


@pytest.fixture(scope="session")
def installed() -> Iterator[object]:
    """Import the official SDK."""
    yield pytest.importorskip("dashscope", reason="the official SDK is not installed")
    gc.collect()  # it leaves sessions open, and their warnings belong here


@pytest.fixture
def theirs(installed: object, monkeypatch: pytest.MonkeyPatch) -> Sdk:
    """Return the official SDK; its settings are its own again after the test."""
    for name in SETTINGS:
        monkeypatch.setattr(installed, name, None)
    return cast("Sdk", installed)


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> Sdk:
    """Return this package; its settings are its own again after the test."""
    for name in SETTINGS:
        monkeypatch.setattr(llama_dashscope, name, None)
    return cast("Sdk", llama_dashscope)
