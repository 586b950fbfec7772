"""Chooses the transport for a client's requests in the running event loop."""

import asyncio
import importlib
import re
from typing import Final

from llama_dashscope._errors import ConfigurationError
from llama_dashscope._late_imports import late_imports
from llama_dashscope._settings import Network

from .event_loop import running_loop
from .http11_transport import HTTP11Transport
from .interface import Transport
from .tls import needs_tls_in_tls

__all__ = ["select_transport"]

OLDEST: Final = (3, 10, 11)
"""The oldest aiohttp that works; the same as in pyproject.toml."""

FIRST_UNTESTED: Final = (4,)
"""The first aiohttp that has not been tested; the same as in pyproject.toml."""

INSTALL: Final = "pip install 'llama-dashscope[aiohttp]'"


def select_transport(network: Network) -> Transport:
    """Make the transport for the running event loop.

    Raises:
        ConfigurationError: the requested transport is not installed or can't be used here.
    """
    if not isinstance(network.transport, str):
        with late_imports:
            from .user_transport import UserTransport  # httpx is slow to import

        return UserTransport(network)
    if network.transport == "httpx":
        return HTTP11Transport(network)
    obstacle = _aiohttp_obstacle(network)
    if not obstacle:
        with late_imports:
            from .aiohttp_transport import AiohttpTransport  # an extra

        return AiohttpTransport(network)
    if network.transport == "aiohttp":
        msg = f"transport='aiohttp' can't be used: {obstacle}"
        raise ConfigurationError(msg)
    return HTTP11Transport(network)


def _aiohttp_obstacle(network: Network) -> str:
    """Say why aiohttp can't be used; empty if it can."""
    if not isinstance(running_loop(), asyncio.AbstractEventLoop):
        return "it runs on asyncio only; use transport='httpx' on trio"
    if network.proxy_scheme.startswith("socks"):
        return "it doesn't support SOCKS proxies; use transport='httpx'"
    if needs_tls_in_tls(network):
        return "it needs Python 3.11 for https proxies; use transport='httpx'"
    try:
        aiohttp = importlib.import_module("aiohttp")
    except ImportError:
        return f"it is not installed; {INSTALL}"
    version = tuple(int(digits) for digits in re.findall(r"\d+", aiohttp.__version__)[:3])
    if not OLDEST <= version < FIRST_UNTESTED:
        return f"version {aiohttp.__version__} is not in the range >=3.10.11,<4; {INSTALL}"
    return ""
