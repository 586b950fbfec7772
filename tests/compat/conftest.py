"""The package's settings, pointed at a server of this machine and put back after each test."""

from __future__ import annotations

import pytest

import llama_dashscope
from llama_dashscope.testing import LocalDashScope


@pytest.fixture
def program(server: LocalDashScope, monkeypatch: pytest.MonkeyPatch) -> LocalDashScope:
    """Set key and address on the module, as programs do."""
    monkeypatch.setattr(llama_dashscope, "api_key", server.api_key)
    monkeypatch.setattr(llama_dashscope, "base_http_api_url", server.base_url)
    return server
