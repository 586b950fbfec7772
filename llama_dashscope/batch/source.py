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
"""Returned in place of an item at the end of the input."""


class Source:
    """Reads items, in one task."""

    def __init__(self, items: Iterable[object] | AsyncIterable[object]) -> None:
        """Start before the first item."""
        self._items: Iterator[object] | AsyncIterator[object]
        self._items = aiter(items) if isinstance(items, AsyncIterable) else iter(items)
        self.waits: bool = isinstance(self._items, AsyncIterator)
        """Whether reading may wait."""

    async def read(self) -> object:
        """Return the next item, or `END`.

        Raises:
            BaseException: what the input raises.
        """
        if isinstance(self._items, AsyncIterator):
            return await anext(self._items, END)
        try:
            return next(self._items, END)
        except StopAsyncIteration as error:  # which would look like the end of the batch
            raise RuntimeError("the input raised StopAsyncIteration") from error

    async def aclose(self) -> None:
        """If the input is a generator, close it, so that it releases its file or connection."""
        items: Any = self._items
        if isinstance(items, AsyncGenerator):
            await items.aclose()
        elif isinstance(items, Generator):
            items.close()
