"""`llama-dashscope batch`: asks all questions in a file and writes the answers to another file."""

import argparse
import io
import signal
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

from llama_dashscope import (
    Batch,
    BatchInput,
    BatchResult,
    BatchSummary,
    Client,
    InvalidRequestError,
    Pace,
    read_journal,
)
from llama_dashscope.batch.files import (
    check_table,
    count_items,
    is_piped,
    is_table,
    read_items,
    read_piped_items,
    write_table,
)
from llama_dashscope.batch.plot import Timeline
from llama_dashscope.batch.progress import Throttle, show_progress

from .argument_types import above_zero, whole_above_zero
from .exit_codes import FAILED, INTERRUPTED, OK
from .reach import reach
from .terminal import discard_output, print_status, write

__all__ = ["ABOUT_BATCH", "add_arguments", "batch"]

ABOUT_BATCH: Final = """\
Ask all questions in a file and save each answer as it arrives.

IN has one question per line, as JSON: {"custom_id": "a", "prompt": "..."}, or
with "messages" and the other options of a call, or in the format of OpenAI's
batch files. A name ending in .csv or .parquet is a table with such columns;
- is stdin.

OUT gets one line of JSON per question, in the format of OpenAI's batch files.
It is also a journal: to resume an interrupted run, run the same command again.
A name ending in .csv or .parquet is a table; its journal is next to it, in
OUT.jsonl.

After the first Ctrl-C, no more requests are sent and those in flight may
finish; a second Ctrl-C abandons them.
"""

SHOWN: Final = 5
"""How many errors of items are shown one by one; the summary counts them all."""


def add_arguments(parser: argparse.ArgumentParser, model: str) -> None:
    """Add the arguments of `batch` to a parser; `model` is the default model."""
    add, default = parser.add_argument, "(default: %(default)s)"
    add("input", metavar="IN", help="the questions")
    add("output", metavar="OUT", help="the answers")
    add("--model", metavar="NAME", default=model, help=f"for items that don't name one {default}")
    add("--temperature", metavar="NUMBER", type=float, help="sampling temperature, 0 to below 2")
    add("--max-tokens", metavar="COUNT", type=int, help="maximum length of an answer, in tokens")
    known = "per minute, the account's limit (default: found out by trying)"
    add("--rpm", metavar="N", type=above_zero, help=f"requests {known}")
    add("--tpm", metavar="N", type=above_zero, help=f"tokens {known}")
    at_once = f"requests in flight at once {default}"
    add("--concurrency", metavar="N", type=int, default=100, help=at_once)
    add("--tries", metavar="N", type=int, default=3, help=f"how often an item may fail {default}")
    failed = f"which items that failed in an earlier run are asked again {default}"
    add("--again", choices=["passing", "failed", "none"], default="passing", help=failed)
    add("--limit", metavar="N", type=whole_above_zero, help="ask the first N items only")
    add("--dry-run", action="store_true", help="read and check the input without asking anything")
    add("--plot", metavar="FILE", type=Path, help="plot the run to this file, as SVG")


def batch(args: argparse.Namespace) -> int:
    """Run the command and return the exit code.

    Raises:
        ConfigurationError: there is no key, the journal is in use, or an option is invalid.
        InvalidRequestError: an option is invalid, or a line of the input can't be read.
        OSError: a file can't be read or written.
    """
    out = Path(args.output)
    args.journal = out.with_name(f"{out.name}.jsonl") if is_table(out) else out
    _check_files(args)
    total = count_items(args.input)
    if args.limit is not None:
        total = args.limit if total is None else min(total, args.limit)
    if args.dry_run:
        return _check(args)
    with reach(args, pace=Pace(args.rpm, args.tpm)) as client:
        if args.plot:
            args.plot.touch()  # a mistake in its name is found before anything is asked
        run = _Run(_made(client, args), total)
        try:
            interrupted = run.take()
        finally:
            if args.plot:
                args.plot.write_text(
                    run.timeline.svg(f"llama-dashscope batch {args.input}"), "utf-8"
                )
    if is_table(out):
        write_table(out, read_journal(args.journal))
    summary = run.report()
    if interrupted:
        return INTERRUPTED
    return FAILED if summary.failed or summary.stopped else OK


def _check_files(args: argparse.Namespace) -> None:
    """Check that OUT can be written, and that no file would be written over another one.

    Raises:
        InvalidRequestError: OUT is no file, or two of the files are one.
        ConfigurationError: a table can't be written here.
    """
    if args.output == "-":
        raise InvalidRequestError("OUT is also the journal, so it can't be stdout: name a file")
    check_table(Path(args.output))
    named = {"IN": args.input, "OUT": args.output, "--plot": args.plot}
    if args.journal != Path(args.output):
        named["the journal of OUT"] = args.journal
    seen: dict[Path, str] = {}
    for name, path in named.items():
        if path and path != "-":
            first = seen.setdefault(Path(path).resolve(), name)
            if first != name:
                msg = f"{first} and {name} are the same file, {path}: name another one"
                raise InvalidRequestError(msg)


def _made(client: Client, args: argparse.Namespace) -> Batch:
    return client.batch(
        _items(args),
        model=args.model,
        journal=args.journal,
        concurrency=args.concurrency,
        tries=args.tries,
        again=args.again,
        temperature=args.temperature,
        max_tokens=args.max_tokens,
    )


def _items(args: argparse.Namespace) -> Iterator[BatchInput] | AsyncIterator[BatchInput]:
    if is_piped(args.input):
        return read_piped_items(args.limit)
    return read_items(args.input, args.limit)


def _check(args: argparse.Namespace) -> int:
    """Read the input and print what a run would do, without sending requests."""
    with Client("sk-dry-run") as client:
        found = _made(client, args).check()
    for each in found.mistakes[:SHOWN]:
        print_status(f"{each.custom_id}: {each.error}")
    counts = f"{found.asked:,} to ask (about {found.tokens:,} tokens), {found.skipped:,} done"
    write(f"{counts}, {found.wrong:,} invalid\n", sys.stdout)
    return FAILED if found.wrong else OK


class _Run:
    """A running batch, its progress display and its timeline."""

    def __init__(self, made: Batch, total: int | None) -> None:
        self.timeline = Timeline()
        self._batch = made
        self._total = total
        self._failed: list[BatchResult] = []

    def take(self) -> bool:
        """Take all results; return whether Ctrl-C stopped the batch."""
        signals: list[int] = []
        with (
            suppress(KeyboardInterrupt),
            self._batch as batch,
            _draining(batch, signals),
            closing(show_progress(self._total, sys.stderr or io.StringIO())) as progress,
        ):
            for result in batch:
                self._count(result)
                if progress.is_due():
                    self._show(progress)
            self._show(progress)
        return bool(signals)

    def report(self) -> BatchSummary:
        """Print the first errors and the summary on stderr; return the summary."""
        summary = self._batch.summary
        try:
            for each in self._failed:
                print_status(f"{each.custom_id}: {each.error}")
            write(f"{summary}\n", sys.stderr)
        except OSError:  # nobody reads it; the exit code still counts
            discard_output()
        return summary

    def _count(self, result: BatchResult) -> None:
        if result.error is None:
            self.timeline.answered(result.seconds)
            return
        self.timeline.failed()
        if len(self._failed) < SHOWN:
            self._failed.append(result)

    def _show(self, progress: Throttle) -> None:
        summary = self._batch.summary
        self.timeline.refusals(summary.refusals)
        progress.update(summary)


@contextmanager
def _draining(batch: Batch, signals: list[int]) -> Generator[None]:
    """Make Ctrl-C and SIGTERM stop a batch; a second one cancels the requests in flight."""

    def on_signal(number: int, _: FrameType | None) -> None:
        signals.append(number)
        if len(signals) > 1:
            raise KeyboardInterrupt
        batch.stop()
        with suppress(RuntimeError, OSError):  # it interrupted a write, or nobody reads
            print_status("waiting for the requests in flight; press Ctrl-C again to abandon them")

    wanted = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(each, on_signal) for each in wanted]
    try:
        yield
    finally:
        for each, handler in zip(wanted, before, strict=True):
            signal.signal(each, handler)
