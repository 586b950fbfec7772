"""Cleans up what the official SDK leaves open after a test."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def closing_its_session(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that may call the SDK, then close the session that the SDK keeps per loop."""
    try:
        return await coroutine
    finally:
        sessions: Any = sys.modules.get("dashscope.api_entities.aio_session")
        if sessions:
            await sessions.close_shared_aio_session()
