"""Progress of a batch on a stream: a bar at a terminal, else a line every ten seconds."""

from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO

from .summary import BatchSummary

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Progress", "show_progress"]

EVERY: Final = 10.0
"""Seconds between two lines."""

REFRESH: Final = 0.2
"""Seconds between two looks at the counts."""


class Progress(Protocol):
    """What shows how a batch stands."""

    def update(self, summary: BatchSummary) -> None:
        """Show this."""
        ...

    def close(self) -> None:
        """Leave the stream as it is good for what comes next."""
        ...


class Bar:
    """A bar by tqdm."""

    def __init__(self, bar: "tqdm[Any]") -> None:
        """Take the bar."""
        self._bar = bar

    def update(self, summary: BatchSummary) -> None:
        """Move the bar on."""
        self._bar.set_postfix_str(_details(summary), refresh=False)
        self._bar.update(_done(summary) - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it is now."""
        self._bar.close()


class Lines:
    """A line every ten seconds."""

    def __init__(self, total: int | None, stream: TextIO) -> None:
        """Begin; the first line comes after ten seconds."""
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
        """Say how long the rest takes at this rate."""
        asked = summary.answered + summary.failed
        if not asked or self._total is None:
            return ""
        seconds = round((self._total - _done(summary)) * summary.seconds / asked)
        return f" ({seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left)"


class Throttle:
    """Passes counts on to a progress no more often than anyone can read them."""

    def __init__(self, progress: Progress) -> None:
        """Begin."""
        self._progress = progress
        self._next = 0.0

    def is_due(self) -> bool:
        """Tell whether it is time to look at the counts again."""
        now = monotonic()
        if now < self._next:
            return False
        self._next = now + REFRESH
        return True

    def update(self, summary: BatchSummary) -> None:
        """Show this."""
        self._progress.update(summary)

    def close(self) -> None:
        """Leave the stream as it is good for what comes next."""
        self._progress.close()


def show_progress(total: int | None, stream: TextIO) -> Throttle:
    """Show progress on a stream: a bar where a person looks at it and tqdm is there.

    Args:
        total: how many items there are; None where nobody knows.
        stream: where to write.
    """
    if stream.isatty():
        try:
            from tqdm import tqdm  # an extra
        except ImportError:
            stream.write("pip install 'llama-dashscope[batch]' gives a progress bar\n")
        else:
            return Throttle(Bar(tqdm(total=total, file=stream, unit=" items", dynamic_ncols=True)))
    return Throttle(Lines(total, stream))


def _done(summary: BatchSummary) -> int:
    return summary.answered + summary.failed + summary.skipped


def _details(summary: BatchSummary) -> str:
    """Say what there is besides the rate: tokens, failures, refusals."""
    parts = [f"{summary.total_tokens:,} tokens"]
    parts += [f"{summary.failed:,} failed"] if summary.failed else []
    parts += [f"{summary.refusals:,} refused"] if summary.refusals else []
    return ", ".join(parts)
