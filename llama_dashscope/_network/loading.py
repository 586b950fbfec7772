"""Slow imports, done at the first call: in a worker thread, never during a fork."""

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
    """Make anyio import its backend for the running event loop now, guarded from forks."""
    kind = type(running_loop())
    if kind not in _backends:
        with late_imports:
            anyio.current_time()
        _backends.add(kind)


_backends: Final[set[type]] = set()


async def load_transports(network: Network) -> Callable[[Network], Transport]:
    """Return the function that makes transports; the first call imports libraries in a thread.

    The event loop keeps running meanwhile, and a caller that is cancelled returns at once.
    """
    names = {*BASE}
    on_asyncio = isinstance(running_loop(), asyncio.AbstractEventLoop)
    if on_asyncio and network.transport in ("auto", "aiohttp"):
        names.add("aiohttp")
    if not names <= _loaded:
        load = partial(_load, names)
        # Our own limiter: all of FastAPI's worker threads may be waiting for this call.
        limiter = anyio.CapacityLimiter(1)
        try:
            await anyio.to_thread.run_sync(load, abandon_on_cancel=True, limiter=limiter)
        except RuntimeError:  # no thread can be started
            load()
    from .selection import select_transport

    return select_transport


_loaded: Final[set[str]] = set()


def _load(names: set[str]) -> None:
    for name in names:
        with late_imports, suppress(ImportError):  # reported when the library is needed
            importlib.import_module(name)
    _loaded.update(names)
