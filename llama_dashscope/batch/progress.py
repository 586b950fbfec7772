"""Shows the progress of a batch: a bar on a terminal, else a line every ten seconds."""

from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO

from .summary import BatchSummary

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Progress", "show_progress"]

EVERY: Final = 10.0
"""Seconds between two lines."""

REFRESH: Final = 0.2
"""Shortest time between two updates, in seconds."""


class Progress(Protocol):
    """The interface of a progress display."""

    def update(self, summary: BatchSummary) -> None:
        """Show these counts."""
        ...

    def close(self) -> None:
        """End the display, so that other output can follow."""
        ...


class Bar:
    """A bar by tqdm."""

    def __init__(self, bar: "tqdm[Any]") -> None:
        """Take the bar."""
        self._bar = bar

    def update(self, summary: BatchSummary) -> None:
        """Update the bar."""
        self._bar.set_postfix_str(_details(summary), refresh=False)
        self._bar.update(_done(summary) - self._bar.n)

    def close(self) -> None:
        """Close the bar, which stays visible."""
        self._bar.close()


class Lines:
    """A line every ten seconds."""

    def __init__(self, total: int | None, stream: TextIO) -> None:
        """Start; the first line is written after ten seconds."""
        self._total = total
        self._stream = stream
        self._next = monotonic() + EVERY

    def update(self, summary: BatchSummary) -> None:
        """Write a line if it is time for one."""
        if monotonic() >= self._next:
            self._next += EVERY
            done = _done(summary)
            total = "" if self._total is None else f" of {self._total:,}{self._left(summary)}"
            line = f"{done:,}{total}, {summary.rate:.1f} a second, {_details(summary)}\n"
            self._stream.write(line)
            self._stream.flush()

    def close(self) -> None:
        """Write nothing more."""

    def _left(self, summary: BatchSummary) -> str:
        """Return the estimated remaining time as text."""
        asked = summary.answered + summary.failed
        if not asked or self._total is None:
            return ""
        seconds = round((self._total - _done(summary)) * summary.seconds / asked)
        return f" ({seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left)"


class Throttle:
    """Limits how often a progress display is updated; one that fails doesn't stop the batch."""

    def __init__(self, progress: Progress) -> None:
        """Take the display."""
        self._progress = progress
        self._next = 0.0

    def is_due(self) -> bool:
        """Tell whether it is time for an update."""
        now = monotonic()
        if now < self._next:
            return False
        self._next = now + REFRESH
        return True

    def update(self, summary: BatchSummary) -> None:
        """Show these counts."""
        with suppress(OSError):  # as when the reader of a pipe is gone
            self._progress.update(summary)

    def close(self) -> None:
        """End the display, so that other output can follow."""
        with suppress(OSError):
            self._progress.close()


def show_progress(total: int | None, stream: TextIO) -> Throttle:
    """Return a progress display: a bar if the stream is a terminal and tqdm is installed.

    Args:
        total: the number of items; None if unknown.
        stream: where to write.
    """
    if stream.isatty():
        try:
            from tqdm import tqdm  # an extra
        except ImportError:
            stream.write("for a progress bar: pip install 'llama-dashscope[batch]'\n")
        else:
            return Throttle(Bar(tqdm(total=total, file=stream, unit=" items", dynamic_ncols=True)))
    return Throttle(Lines(total, stream))


def _done(summary: BatchSummary) -> int:
    return summary.answered + summary.failed + summary.skipped


def _details(summary: BatchSummary) -> str:
    """Return the counts of tokens, failures and refusals as text."""
    parts = [f"{summary.total_tokens:,} tokens"]
    parts += [f"{summary.failed:,} failed"] if summary.failed else []
    parts += [f"{summary.refusals:,} refused"] if summary.refusals else []
    return ", ".join(parts)
