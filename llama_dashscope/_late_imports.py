"""Imports deferred to the first call, guarded by a lock that forks wait for.

A thread that imports a module holds that module's import lock. If the process forks meanwhile, the
child inherits the lock, held by a thread that it doesn't have, and importing the module in the
child blocks for ever. So a fork waits until deferred imports have ended. The same holds for the
making of a TLS context, during which a thread holds locks of OpenSSL.
"""

import os
import threading
from contextlib import suppress
from types import TracebackType
from typing import Final

__all__ = ["LateImports", "late_imports"]

PATIENCE: Final = 10.0
"""Longest time that a fork waits for an import, in seconds, so that no program hangs for ever."""


class LateImports:
    """A context manager for statements that hold locks: no fork happens while they run."""

    def __init__(self) -> None:
        """Start with no import in progress."""
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
        """Allow forks again."""
        self._lock.release()

    def before_fork(self) -> None:
        """Wait for imports in other threads, at most for `PATIENCE`."""
        self._lock.acquire(timeout=PATIENCE)

    def after_fork_in_parent(self) -> None:
        """Allow imports in other threads again."""
        with suppress(RuntimeError):  # `before_fork` timed out, so the lock is not ours
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Free the lock, or replace it if a thread that doesn't exist here holds it."""
        try:
            self._lock.release()
        except RuntimeError:
            self._lock = threading.RLock()


def guarded_from_forks() -> LateImports:
    """Return a `LateImports` that the forks of this process wait for."""
    made = LateImports()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=made.before_fork,
            after_in_parent=made.after_fork_in_parent,
            after_in_child=made.after_fork_in_child,
        )
    return made


late_imports: Final = guarded_from_forks()
