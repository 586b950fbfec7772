"""What these tests share: a DashScope on this machine, and a model of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from llama_dashscope.testing import LocalDashScope

if TYPE_CHECKING:
    from llama_dashscope.llamaindex import LlamaDashScope

MODEL = "llama3.3-70b-instruct"


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio: LlamaIndex's async code knows no other event loop."""
    return "asyncio"


@pytest.fixture
def server() -> Iterator[LocalDashScope]:
    """Run a DashScope on this machine."""
    with LocalDashScope() as running:
        yield running


@pytest.fixture
def llm(server: LocalDashScope) -> LlamaDashScope:
    """Make a model of this machine's service."""
    from pydantic import SecretStr

    from llama_dashscope.llamaindex import LlamaDashScope

    return LlamaDashScope(
        model=MODEL, api_key=SecretStr("sk-local"), base_url=server.base_url, max_retries=0
    )
