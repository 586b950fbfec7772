"""Takes requests in a few at a time, so that a crowd of them doesn't hold up the streams."""

import asyncio
from collections import deque
from collections.abc import Callable

_FEW = 8
"""Requests that are taken in between two looks at the clock and the sockets."""


class AdmissionQueue:
    """A queue in front of new requests, empty unless many come at once.

    An event loop that finds five hundred sockets readable serves them all before it looks at its
    timers again; by then the streams that run would be late with their next frame.
    """

    def __init__(self) -> None:
        self._left = _FEW
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, function: Callable[[], None]) -> None:
        """Call a function, now or when it is its turn."""
        self._waiting.append(function)
        if self._left == _FEW:
            self._begin()
        elif self._left:
            self._go_on()

    def _begin(self) -> None:
        self._left = _FEW
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._begin)
            self._go_on()

    def _go_on(self) -> None:
        while self._left and self._waiting:
            self._left -= 1
            self._waiting.popleft()()

    def __len__(self) -> int:
        return len(self._waiting)
