"""Loads at the first call what takes long to import: beside the event loop, and not in a fork."""

import asyncio
import importlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

import anyio
import anyio.to_thread

from llama_dashscope._late_imports import late_imports
from llama_dashscope._settings import Network

from .event_loop import running_loop
from .interface import Transport

__all__ = ["load_backend", "load_transports"]

BASE: Final = ("llama_dashscope._network.selection", "encodings.idna")


def load_backend() -> None:
    """Let anyio import its part for the running event loop, which its first use would do."""
    kind = type(running_loop())
    if kind not in _backends:
        with late_imports:
            anyio.current_time()
        _backends.add(kind)


_backends: Final[set[type]] = set()


async def load_transports(network: Network) -> Callable[[Network], Transport]:
    """Return what makes transports. The first time, a thread imports the libraries for that.

    Meanwhile the event loop goes on, and a caller that is cancelled leaves at once.
    """
    names = {*BASE}
    on_asyncio = isinstance(running_loop(), asyncio.AbstractEventLoop)
    if on_asyncio and network.transport in ("auto", "aiohttp"):
        names.add("aiohttp")
    if not names <= _loaded:
        load = partial(_load, names)
        # A limit of our own: FastAPI's worker threads, all of them, may wait for this call.
        limiter = anyio.CapacityLimiter(1)
        try:
            await anyio.to_thread.run_sync(load, abandon_on_cancel=True, limiter=limiter)
        except RuntimeError:  # no thread can start any more, or none is left
            load()
    from .selection import select_transport

    return select_transport


_loaded: Final[set[str]] = set()


def _load(names: set[str]) -> None:
    for name in names:
        with late_imports, suppress(ImportError):  # who needs it says what is missing
            importlib.import_module(name)
    _loaded.update(names)
