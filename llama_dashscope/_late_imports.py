"""Imports that wait for the first call, out of the way of forks.

A thread that imports a module holds that module's lock. A process that is forked meanwhile inherits
the lock without the thread, and its own import of the module waits for ever. So a fork waits until
such an import has ended.
"""

import os
import threading
from contextlib import suppress
from types import TracebackType
from typing import Final

__all__ = ["LateImports", "late_imports"]

PATIENCE: Final = 10.0
"""Seconds that a fork waits for an import at most: no program may hang for ever."""


class LateImports:
    """Import statements within `with` of this object don't meet a fork."""

    def __init__(self) -> None:
        """Begin with no import under way."""
        # Reentrant: a signal handler may fork, or make a call, in the thread that imports.
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        """Hold back forks of other threads."""
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let forks go on."""
        self._lock.release()

    def before_fork(self) -> None:
        """Wait for the imports of other threads, for `PATIENCE` at most."""
        self._lock.acquire(timeout=PATIENCE)

    def after_fork_in_parent(self) -> None:
        """Let the imports of other threads go on."""
        with suppress(RuntimeError):  # one of them took longer than `PATIENCE`
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begin anew: the threads that imported are not here."""
        try:
            self._lock.release()
        except RuntimeError:
            self._lock = threading.RLock()


def guarded_from_forks() -> LateImports:
    """Make late imports that the forks of this process wait for."""
    made = LateImports()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=made.before_fork,
            after_in_parent=made.after_fork_in_parent,
            after_in_child=made.after_fork_in_child,
        )
    return made


late_imports: Final = guarded_from_forks()
