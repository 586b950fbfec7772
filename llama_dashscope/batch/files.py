"""Batches in files: items from JSON lines, CSV and Parquet, results to CSV and Parquet."""

import csv
import json
import os
import stat
import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO, cast

import anyio

from llama_dashscope._errors import ConfigurationError, InvalidRequestError
from llama_dashscope._sanitize import sanitize

from .items import BatchInput
from .results import BatchResult

__all__ = [
    "check_table",
    "count_items",
    "is_piped",
    "is_table",
    "read_items",
    "read_piped_items",
    "write_table",
]

TABLES: Final = (".csv", ".parquet")
"""Suffixes of files that hold a table; any other file holds lines of JSON."""

LONGEST_CELL: Final = 1 << 24
"""Longest cell of a CSV file, in characters; Python's own limit is below that of some models."""

TEXTS: Final = ("custom_id", "model", "prompt", "result_format")
"""Columns of a CSV file that are always text; the others are read as JSON where possible."""

KEEP_BYTES: Final = "surrogateescape"
"""Decodes bytes that are not UTF-8 to surrogates, so that the row with them can be named."""

ROWS: Final = 10_000
"""Rows of a Parquet file that are read or written at a time."""

PIPED: Final = 1 << 16
"""Bytes of the standard input that are read at a time."""

COLUMNS: Final[dict[str, Callable[[BatchResult], object]]] = {
    "custom_id": lambda result: result.custom_id,
    "text": lambda result: None if result.response is None else result.text,
    "finish_reason": lambda result: result.response and result.response.finish_reason,
    "input_tokens": lambda result: _tokens(result, "input_tokens"),
    "output_tokens": lambda result: _tokens(result, "output_tokens"),
    "error_code": lambda result: (
        result.error and (result.error.code or type(result.error).__name__)
    ),
    "error_message": lambda result: result.error and result.error.message,
    "attempts": lambda result: result.attempts,
    "seconds": lambda result: float(result.seconds),
    "request_id": lambda result: (result.response or result.error or _Nothing).request_id,
}
"""The columns of a table of results."""


class _Nothing:
    request_id: str | None = None


def is_table(path: str | Path) -> bool:
    """Tell whether a file holds a table, by its suffix."""
    return _kind(path) in TABLES


def check_table(path: Path) -> None:
    """Check that a table can be written, before it has rows.

    Raises:
        ConfigurationError: Parquet needs pyarrow.
    """
    if _kind(path) == ".parquet":
        _pyarrow()


def _kind(path: str | Path) -> str:
    return Path(path).suffix.lower()


def read_items(path: str, limit: int | None = None) -> Generator[BatchInput]:
    """Read the items of a file, one after the other; the file closes when the generator does.

    Args:
        path: a file of JSON lines, CSV (`.csv`) or Parquet (`.parquet`); `-` for JSON lines from
            the standard input.
        limit: how many to read; None (the default) for all.

    Raises:
        InvalidRequestError: a line can't be read; the message has its number.
        ConfigurationError: Parquet needs pyarrow.
        OSError: the file can't be read.
    """
    with closing(_all_items(path)) as items:
        yield from islice(items, limit)


def _all_items(path: str) -> Generator[BatchInput]:
    kind = _kind(path)
    if kind == ".parquet":
        yield from _parquet_rows(path)
    elif kind == ".csv":
        with Path(path).open(encoding="utf-8-sig", errors=KEEP_BYTES, newline="") as file:
            yield from _csv_rows(file)
    elif path == "-":
        yield from _json_lines(_stdin())
    else:
        with Path(path).open("rb") as file:
            yield from _json_lines(file)


async def read_piped_items(limit: int | None) -> AsyncIterator[BatchInput]:
    """Read items from the standard input as they come; the answers don't wait for the next one.

    Args:
        limit: how many to read; None for all.

    Raises:
        InvalidRequestError: a line can't be read; the message has its number.
        OSError: the input can't be read.
    """
    number = items = 0
    async for line in _piped_lines(_stdin().fileno()):
        number += 1
        if line.strip():
            yield _json_item(line, number)
            items += 1
            if items == limit:
                return


async def _piped_lines(descriptor: int) -> AsyncIterator[bytes]:
    rest = b""
    while True:
        await anyio.wait_readable(descriptor)
        chunk = os.read(descriptor, PIPED)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
        if not chunk:
            yield rest
            return


def is_piped(path: str) -> bool:
    """Tell whether a path stands for a standard input that `read_piped_items` can wait for."""
    if path != "-" or sys.platform == "win32":
        return False
    try:
        mode = os.fstat(_stdin().fileno()).st_mode
    except OSError:  # it is no file
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or _stdin().isatty()


def count_items(path: str) -> int | None:
    """Return the number of items in a file; None if that can't be told without parsing it.

    Raises:
        InvalidRequestError: it is not a Parquet file, though its name says so.
        ConfigurationError: Parquet needs pyarrow.
        OSError: the file can't be read.
    """
    kind = _kind(path)
    if path == "-" or kind == ".csv":
        return None
    if kind == ".parquet":
        with _parquet_file(path) as file:
            return int(file.metadata.num_rows)
    with Path(path).open("rb") as file:
        return sum(1 for line in file if line.strip())


def write_table(path: Path, results: Iterable[BatchResult]) -> None:
    """Write results as a table, replacing the file.

    Args:
        path: a file whose name ends in `.csv` or `.parquet`.
        results: the results.

    Raises:
        ConfigurationError: Parquet needs pyarrow.
        OSError: the file can't be written.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    (_write_parquet if _kind(path) == ".parquet" else _write_csv)(temporary, results)
    temporary.replace(path)


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise InvalidRequestError("stdin is closed, so it has no questions: name a file instead")
    return sys.stdin.buffer


def _json_lines(file: BinaryIO) -> Iterator[BatchInput]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield _json_item(line, number)


def _json_item(line: bytes, number: int) -> BatchInput:
    try:
        item: BatchInput = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        reason = sanitize(str(error), limit=200)
        raise InvalidRequestError(f"line {number} of the input is not JSON: {reason}") from None
    return item


def _csv_rows(file: TextIO) -> Iterator[BatchInput]:
    csv.field_size_limit(LONGEST_CELL)
    rows = csv.DictReader(file)
    try:
        for row in rows:
            yield _csv_item(row)
    except UnicodeEncodeError:
        reason = "it is not UTF-8; save the table as CSV in UTF-8"
    except csv.Error as error:
        reason = sanitize(str(error), limit=200)
    else:
        return
    raise InvalidRequestError(f"line {rows.reader.line_num} of the input: {reason}")


def _csv_item(row: dict[Any, Any]) -> BatchInput:
    """Return the item in a row, without its empty cells."""
    if None in row:
        raise csv.Error("it has more cells than the table has columns; quote its commas")
    "".join(map(str, (*row, *row.values()))).encode()  # raises if it was not UTF-8
    return {
        name: value if name in TEXTS else _json_or_text(value)
        for name, value in row.items()
        if value not in ("", None)
    }


def _json_or_text(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _parquet_rows(path: str) -> Iterator[BatchInput]:
    with _parquet_file(path) as file:
        for part in file.iter_batches(ROWS):
            for row in cast("list[dict[str, Any]]", part.to_pylist()):
                yield _without_nulls(row)


def _without_nulls(value: Any) -> Any:
    """Leave out the fields that a row lacks; in Parquet, all rows have the same fields."""
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value).items()
        return {name: _without_nulls(each) for name, each in fields if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in cast("list[object]", value)]
    return value


@contextmanager
def _parquet_file(path: str) -> Generator[Any]:
    """Open a Parquet file; a mistake in it, found now or later, becomes an InvalidRequestError."""
    arrow = _pyarrow()
    try:
        with arrow.parquet.ParquetFile(path) as file:
            yield file
    except arrow.ArrowException as error:
        reason = sanitize(str(error), limit=200)
        raise InvalidRequestError(f"{path} can't be read as Parquet: {reason}") from None


def _write_csv(path: Path, results: Iterable[BatchResult]) -> None:
    with path.open("w", encoding="utf-8", newline="", errors="backslashreplace") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        rows.writerows([column(each) for column in COLUMNS.values()] for each in results)


def _write_parquet(path: Path, results: Iterable[BatchResult]) -> None:
    arrow = _pyarrow()
    kinds = {"attempts": arrow.int64(), "seconds": arrow.float64()}
    kinds |= dict.fromkeys(("input_tokens", "output_tokens"), arrow.int64())
    schema = arrow.schema([(name, kinds.get(name, arrow.string())) for name in COLUMNS])
    with arrow.parquet.ParquetWriter(path, schema) as writer:
        for part in _parts(results):
            columns = [[column(each) for each in part] for column in COLUMNS.values()]
            writer.write_table(arrow.table(dict(zip(COLUMNS, columns, strict=True)), schema))


def _parts(results: Iterable[BatchResult]) -> Iterator[list[BatchResult]]:
    rest = iter(results)
    while part := list(islice(rest, ROWS)):
        yield part


def _tokens(result: BatchResult, name: str) -> int | None:
    usage = None if result.response is None else result.response.usage
    return None if usage is None else getattr(usage, name)


def _pyarrow() -> Any:  # it has no types
    try:
        import_module("pyarrow.parquet")
        return import_module("pyarrow")
    except ImportError:
        raise ConfigurationError("Parquet files need pyarrow: pip install pyarrow") from None
