"""The journal of a batch: an append-only file, from which an interrupted run goes on."""

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
"""Which of the items that failed in an earlier run are asked again."""

KEPT: Final = 1
"""Mark of an id whose result the journal keeps."""

OPEN: Final = os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
COPIED: Final = 1 << 20
"""Bytes that are copied at once."""

_sync: Final = getattr(os, "fdatasync", os.fsync)


class Journal:
    """The file that keeps results: one line each, written at once, by one run at a time.

    Opening it cuts off a last line that was not written to its end, and drops the lines of failed
    items that are to be asked again: so no id ever has two lines, whenever the run is killed.
    """

    def __init__(self, path: Path, descriptor: int, index: DigestIndex) -> None:
        """Take a file that is open, locked and read."""
        self._path = path
        self._descriptor = descriptor
        self._unsynced = False
        self.index = index
        """The ids that it keeps, each with the digest of its body."""

    @classmethod
    def open(cls, path: Path, again: Again, index: DigestIndex) -> "Journal":
        """Open a journal, a new one where there is none.

        Args:
            path: the file.
            again: which failed items are to be asked again.
            index: where to note what the journal keeps.

        Raises:
            ConfigurationError: another run has it open, or it is something else than a journal.
            OSError: it can't be read or written.
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
            OSError: the disk is full, or broken.
        """
        rest = memoryview(write_line(result, model, digest))
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._unsynced = True

    def sync(self) -> None:
        """Wait until the disk has what was written."""
        if self._unsynced:
            self._unsynced = False
            _sync(self._descriptor)

    def close(self) -> None:
        """Close the file, and let others have it."""
        try:
            self.sync()
        finally:
            os.close(self._descriptor)


def look_up(path: Path, again: Again, index: DigestIndex) -> None:
    """Note what a journal keeps, as `Journal.open` does, and leave the file as it is.

    Raises:
        ConfigurationError: it is something else than a journal.
        OSError: it can't be read.
    """
    if path.exists():
        with path.open("rb") as file:
            _scan(path, file.fileno(), again, index)


def read_journal(
    path: str | os.PathLike[str], *, into: TypeForm[Any] | None = None
) -> Iterator[BatchResult]:
    """Read the results that a journal holds, in the order in which they came.

    A last line that is not whole is left out: the run that writes it may not have ended.

    Args:
        path: the journal of `Client.abatch`, or the output of `llama-dashscope batch`.
        into: the type that answers are to be of: each result then has a `value`, or a ParseError.

    Raises:
        ConfigurationError: the file is something else.
        InvalidRequestError: the type has no form in JSON.
        OSError: it can't be read.
    """
    wanted = None if into is None else AnswerFormat(into)
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.endswith(b"\n"):
                try:
                    result = read_result(parse_line(line))
                except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                    raise _foreign(Path(path), number) from None
                yield result if wanted is None else read_value(result, wanted)


def _open_locked(path: Path) -> int:
    """Open a file that is nobody else's until it is closed."""
    while True:
        descriptor = os.open(path, OPEN | os.O_CREAT, 0o666)
        ours = try_lock(descriptor)
        if ours and _is_at(path, descriptor):
            return descriptor
        os.close(descriptor)
        if not ours:
            msg = f"another run has the journal {path} open; two would pay for everything twice"
            raise ConfigurationError(msg)
        # Else its run has put another file there meanwhile.


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _scan(
    path: Path, descriptor: int, again: Again, index: DigestIndex
) -> tuple[int, "array[int]"]:
    """Read a journal; return where its last whole line ends, and the lines to drop.

    These are a flat array of where each one begins and ends.
    """
    end, dropped = 0, array("Q")
    with open(descriptor, "rb", closefd=False) as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n") and _is_torn(line):
                break
            try:
                row = parse_line(line)
            except (ValueError, RecursionError):
                raise _foreign(path, number) from None
            key = id_digest(row["custom_id"])
            if _is_due(row, again) or index.get(key):
                dropped.extend((end, end + len(line)))
            else:
                index.put(key, bytes.fromhex(row["body_digest"]), KEPT)
            end += len(line)
    return end, dropped


def _is_torn(line: bytes) -> bool:
    """Tell whether this is the beginning of a line; a loss of power may leave zeros instead."""
    return line.startswith(BEGIN) or BEGIN.startswith(line) or not line.strip(b"\0")


def _is_due(row: JournalLine, again: Again) -> bool:
    """Tell whether an item is asked again; one that was never sent costs nothing to look at."""
    error = row["error"]
    if error is None or again == "none":
        return False
    return again == "failed" or bool(error.get("passing")) or row.get("attempts") == 0


def _rewrite(path: Path, descriptor: int, end: int, dropped: "array[int]") -> int:
    """Put a file without the dropped lines in the place of a journal; return its descriptor."""
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
        if sys.platform == "win32":  # pragma: no cover  # there no open file can be replaced
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


def _foreign(path: Path, number: int) -> ConfigurationError:
    msg = f"line {number} of {path} is no line of a batch's journal: name another file for it"
    return ConfigurationError(msg)
