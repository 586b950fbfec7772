"""Sockets by aiohttp, the `aiohttp` extra: cheaper than httpx, on asyncio only."""

import asyncio
import importlib
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ._config import Timeout
from ._errors import APIConnectionError, ConfigurationError, DashScopeError, describe
from ._loops import running_loop
from ._pool import Carrier, Outgoing, Reply
from ._transport import Network, keepalive_options, timed_out

if TYPE_CHECKING:
    import aiohttp

__all__ = ["open_aiohttp"]
