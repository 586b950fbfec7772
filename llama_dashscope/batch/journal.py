"""The journal of a batch: an append-only file from which an interrupted run resumes."""

import os
import sys
from array import array
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Final, Literal

from llama_dashscope._errors import ConfigurationError
from llama_dashscope._protocol.answer_format import AnswerFormat
from llama_dashscope._protocol.options import TypeForm

from .digest_index import DigestIndex, id_digest
from .file_lock import try_lock
from .results import BatchResult, read_value
from .rows import BEGIN, JournalLine, parse_line, read_result, write_line

__all__ = ["KEPT", "Again", "Journal", "look_up", "read_journal"]

Again = Literal["passing", "failed", "none"]
"""Which items that failed in an earlier run are asked again."""

KEPT: Final = 1
"""Mark of an id whose result the journal has."""

OPEN: Final = os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
COPIED: Final = 1 << 20
"""Bytes that are copied at a time."""

_sync: Final = getattr(os, "fdatasync", os.fsync)


class Journal:
    """The file of results: one line each, written without delay, by one run at a time.

    Opening it cuts off an incomplete last line, and removes the lines of failed items that are to
    be asked again. So an id never has two lines, even if a run is killed.
    """

    def __init__(self, path: Path, descriptor: int, index: DigestIndex) -> None:
        """Take a file that has been opened, locked and read."""
        self._path = path
        self._descriptor = descriptor
        self._unsynced = False
        self.index = index
        """The ids in the journal, each with the digest of its body."""

    @classmethod
    def open(cls, path: Path, again: Again, index: DigestIndex) -> "Journal":
        """Open a journal; create it if there is none.

        Args:
            path: the file.
            again: which failed items are to be asked again.
            index: gets the ids in the journal.

        Raises:
            ConfigurationError: another run has the file open, or it is not a journal, or no file.
            OSError: the file can't be read or written.
        """
        descriptor = _open_locked(path)
        try:
            end, dropped = _scan(path, descriptor, again, index)
            os.ftruncate(descriptor, end)
            if dropped:
                descriptor = _rewrite(path, descriptor, end, dropped)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor, index)

    def append(self, result: BatchResult, model: str, digest: bytes) -> None:
        """Write a result.

        Raises:
            OSError: writing failed; the disk may be full.
        """
        rest = memoryview(write_line(result, model, digest))
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._unsynced = True

    def sync(self) -> None:
        """Wait until everything written is on disk."""
        if self._unsynced:
            self._unsynced = False
            _sync(self._descriptor)

    def close(self) -> None:
        """Close and unlock the file."""
        try:
            self.sync()
        finally:
            os.close(self._descriptor)


def look_up(path: Path, again: Again, index: DigestIndex) -> None:
    """Add the ids in a journal to an index, like `Journal.open`, but without changing the file.

    Raises:
        ConfigurationError: the file is not a journal.
        OSError: the file can't be read.
    """
    _check_kind(path)
    if path.exists():
        with path.open("rb") as file:
            _scan(path, file.fileno(), again, index)


def read_journal(
    path: str | os.PathLike[str], *, into: TypeForm[Any] | None = None
) -> Iterator[BatchResult]:
    """Read the results in a journal, in the order in which they were written.

    An incomplete last line is skipped: a run may still be writing it.

    Args:
        path: the journal of `Client.abatch`, or the output of `llama-dashscope batch`.
        into: the type to read answers into; each result then has a `value`, or a ParseError.

    Raises:
        ConfigurationError: the file is not a journal.
        InvalidRequestError: the type has no form in JSON.
        OSError: the file can't be read.
    """
    wanted = None if into is None else AnswerFormat(into)
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n"):
                try:
                    result = read_result(parse_line(line))
                except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                    raise _not_a_journal(Path(path), number) from None
                yield result if wanted is None else read_value(result, wanted)


def _open_locked(path: Path) -> int:
    """Open and lock a file; the lock lasts until the file is closed."""
    while True:
        _check_kind(path)
        descriptor = os.open(path, OPEN | os.O_CREAT, 0o666)
        ours = try_lock(descriptor)
        if ours and _is_at(path, descriptor):
            return descriptor
        os.close(descriptor)
        if not ours:
            msg = f"another run has the journal {path} open; two runs would pay for each item twice"
            raise ConfigurationError(msg)
        # Otherwise another run has just replaced the file at this path: open it again.


def _check_kind(path: Path) -> None:
    """Check that a path is not that of a pipe or a device, which a run can't resume from.

    Raises:
        ConfigurationError: it is.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        msg = f"the journal {path} is a pipe or a device, from which no run can resume: name a file"
        raise ConfigurationError(msg)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _scan(
    path: Path, descriptor: int, again: Again, index: DigestIndex
) -> tuple[int, "array[int]"]:
    """Read a journal; return the end of its last complete line, and the lines to drop.

    These are a flat array with the beginning and the end of each line.
    """
    end, dropped = 0, array("Q")
    with open(descriptor, "rb", closefd=False) as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n") and _is_torn(line):
                break
            try:
                row = parse_line(line)
            except (ValueError, RecursionError):
                raise _not_a_journal(path, number) from None
            key = id_digest(row["custom_id"])
            if _is_due(row, again) or index.get(key):
                dropped.extend((end, end + len(line)))
            else:
                index.put(key, bytes.fromhex(row["body_digest"]), KEPT)
            end += len(line)
    return end, dropped


def _is_torn(line: bytes) -> bool:
    """Tell whether this is an incomplete line; after a power failure it may be zeros."""
    return line.startswith(BEGIN) or BEGIN.startswith(line) or not line.strip(b"\0")


def _is_due(row: JournalLine, again: Again) -> bool:
    """Tell whether an item is asked again; one that was never sent always is, except by `none`."""
    error = row["error"]
    if error is None or again == "none":
        return False
    return again == "failed" or bool(error.get("passing")) or row.get("attempts") == 0


def _rewrite(path: Path, descriptor: int, end: int, dropped: "array[int]") -> int:
    """Replace a journal by a copy without the dropped lines; return its descriptor."""
    temporary = path.with_name(f"{path.name}.tmp")
    new = os.open(temporary, OPEN | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        try_lock(new)
        with (
            mmap(descriptor, end, access=ACCESS_READ) as old,
            open(new, "wb", closefd=False) as file,
        ):
            at = 0
            for begin, after in zip([*dropped[::2], end], [*dropped[1::2], end], strict=True):
                file.writelines(
                    old[part : min(part + COPIED, begin)] for part in range(at, begin, COPIED)
                )
                at = after
        os.fsync(new)
        if sys.platform == "win32":  # pragma: no cover  # Windows can't replace an open file
            os.close(new)
            os.close(descriptor)
            temporary.replace(path)
            return _open_locked(path)
        temporary.replace(path)
    except BaseException:
        os.close(new)
        raise
    os.close(descriptor)
    return new


def _not_a_journal(path: Path, number: int) -> ConfigurationError:
    msg = f"line {number} of {path} is not a line of a batch journal: use another file"
    return ConfigurationError(msg)
