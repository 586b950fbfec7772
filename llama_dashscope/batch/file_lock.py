"""An advisory lock on an open file, which the system lets go of when its process ends."""

import sys

__all__ = ["try_lock"]

if sys.platform == "win32":  # pragma: no cover  # the other half is
    import msvcrt
    import os

    def try_lock(descriptor: int) -> bool:
        """Lock a file for as long as it is open; tell whether nobody else has."""
        # Windows keeps others from reading what is locked: it is a byte that will never be there.
        at = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, 1 << 62, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, at, os.SEEK_SET)
        return True

else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Lock a file for as long as it is open; tell whether nobody else has."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
