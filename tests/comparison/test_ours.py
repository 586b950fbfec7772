"""Our models end right in every situation of the comparison."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import pytest

from llama_dashscope.testing import LocalDashScope

TIMED = {"many", "time_limit"}
"""Situations that look at a clock: for the script alone."""

# LlamaIndex's workflows look at every attribute of an agent, Pydantic's deprecated ones too.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecationWarning")


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio: the frameworks know no other event loop."""
    return "asyncio"


def situations(side: str, framework: str) -> list[Any]:
    """Return the situations of a framework, or one that says that it is not here."""
    try:
        importlib.import_module(framework)
    except ImportError:
        reason = f"{framework}'s tests run in the session guests"
        return [pytest.param(None, None, marks=pytest.mark.skip(reason=reason))]
    module = importlib.import_module(f".{side}", __package__)
    return [
        pytest.param(situation, module.ours, id=f"{side}-{situation.__name__}")
        for situation in module.SITUATIONS
        if situation.__name__ not in TIMED
    ]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("situation", "ours"),
    [*situations("of_langchain", "langchain_core"), *situations("of_llamaindex", "llama_index")],
)
async def test_it_ends_right(situation: Any, ours: Any) -> None:
    """What a user expects is what happens."""
    if situation.__name__ == "agent" and "langchain" in situation.__module__:
        pytest.importorskip("langchain", reason="the agent is that of the package langchain")
    with LocalDashScope() as server:
        assert await situation(partial(ours, server), server)
