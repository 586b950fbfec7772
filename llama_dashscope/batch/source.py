"""The input of a batch: any iterable, async or not, read one item at a time."""

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
)
from typing import Any, Final

__all__ = ["END", "Source"]

END: Final = object()
"""Stands for an item where there are no more."""


class Source:
    """Reads items, in one task."""

    def __init__(self, items: Iterable[object] | AsyncIterable[object]) -> None:
        """Begin before the first item."""
        self._items: Iterator[object] | AsyncIterator[object]
        self._items = aiter(items) if isinstance(items, AsyncIterable) else iter(items)

    async def read(self) -> object:
        """Return the next item, or `END`."""
        if isinstance(self._items, AsyncIterator):
            return await anext(self._items, END)
        return next(self._items, END)

    async def aclose(self) -> None:
        """Close a generator, so that it lets go of its file or its connection."""
        items: Any = self._items
        if isinstance(items, AsyncGenerator):
            await items.aclose()
        elif isinstance(items, Generator):
            items.close()
