"""Admits a few requests at a time, so that many new requests don't delay running streams."""

import asyncio
from collections import deque
from collections.abc import Callable

_PER_TURN = 8
"""Requests that are admitted in one iteration of the event loop."""


class AdmissionQueue:
    """A queue of new requests; it is empty unless many come at once.

    An event loop that finds 500 readable sockets handles all of them before it checks its timers
    again; the next frames of running streams would be late.
    """

    def __init__(self) -> None:
        self._left = _PER_TURN
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, function: Callable[[], None]) -> None:
        """Call a function, now or in its turn."""
        self._waiting.append(function)
        if self._left == _PER_TURN:
            self._start_turn()
        elif self._left:
            self._run_some()

    def _start_turn(self) -> None:
        self._left = _PER_TURN
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._start_turn)
            self._run_some()

    def _run_some(self) -> None:
        while self._left and self._waiting:
            self._left -= 1
            self._waiting.popleft()()

    def __len__(self) -> int:
        return len(self._waiting)
