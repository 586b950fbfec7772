"""The official SDK's manners: what it leaves behind, a test puts away."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def closing_its_session(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that may call the SDK, which keeps a session for each loop until the exit."""
    try:
        return await coroutine
    finally:
        sessions: Any = sys.modules.get("dashscope.api_entities.aio_session")
        if sessions:
            await sessions.close_shared_aio_session()
