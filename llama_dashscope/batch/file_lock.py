"""An advisory lock on an open file; the system releases it when the process ends."""

import sys

__all__ = ["try_lock"]

if sys.platform == "win32":  # pragma: no cover  # the other branch is covered
    import msvcrt
    import os

    def try_lock(descriptor: int) -> bool:
        """Lock a file until it is closed; return False if another process has it locked."""
        # Windows prevents others from reading a locked byte, so lock one far beyond the content.
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
        """Lock a file until it is closed; return False if another process has it locked."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
