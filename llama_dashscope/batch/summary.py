"""The counts of a batch: results, tokens and latencies."""

from collections import Counter
from collections.abc import Mapping
from math import exp, floor, log
from time import monotonic
from typing import Final

import attrs

from llama_dashscope._errors import DashScopeError
from llama_dashscope._models import Usage

from .results import BatchResult

__all__ = ["BatchSummary", "Tally"]

STEP: Final = log(1.02)
"""Width of a latency class: 2 %, on a logarithmic scale."""

SHORTEST: Final = 1e-4
"""Shortest latency that is recorded, in seconds; a shorter one counts as this."""


def _nothing() -> dict[str, int]:
    return {}


@attrs.frozen
class BatchSummary:
    """The counts of a batch, so far or at its end."""

    answered: int = 0
    """Items with an answer."""
    failed: int = 0
    """Items with an error."""
    skipped: int = 0
    """Items whose result the journal had from an earlier run."""
    left: int = 0
    """Items that were read but got no result, since the batch was stopped; the next run with the
    same journal asks them."""
    input_tokens: int = 0
    """Tokens of all questions, as billed."""
    output_tokens: int = 0
    """Tokens of all answers, as billed."""
    refusals: int = 0
    """Requests that were refused by the account's rate limits (429)."""
    retries: int = 0
    """Requests that were sent again, including those that had been refused."""
    errors: Mapping[str, int] = attrs.field(factory=_nothing)
    """Failed items by the service's error code, or by the error's class if it has no code."""
    p50: float | None = None
    """Half of the answers took no longer than this many seconds; None without an answer."""
    p95: float | None = None
    """19 in 20 answers took no longer than this many seconds; None without an answer."""
    seconds: float = 0.0
    """How long the batch has run."""
    stopped: DashScopeError | None = None
    """The error that stopped the batch, since every other item would have got it too: a refused
    key, used-up quota; None if there was none."""

    @property
    def total_tokens(self) -> int:
        """Tokens of questions and answers."""
        return self.input_tokens + self.output_tokens

    @property
    def rate(self) -> float:
        """Answers per second, over the whole run."""
        return self.answered / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        """Return the summary as a few lines of text."""
        lines = [f"{self.answered:,} answered in {self.seconds:,.1f} s ({self.rate:,.1f} a second)"]
        lines += [
            f"{count:,} {words}"
            for count, words in (
                (self.failed, "failed"),
                (self.skipped, "skipped: the journal had them"),
                (self.left, "left: the batch was stopped"),
            )
            if count
        ]
        tokens = f"{self.input_tokens:,} in, {self.output_tokens:,} out"
        lines.append(f"tokens: {tokens}, {self.total_tokens:,} in total")
        if self.p50 is not None and self.p95 is not None:
            lines.append(f"latency: {self.p50:.3g} s (median), {self.p95:.3g} s (95th percentile)")
        if self.retries:
            lines.append(f"{self.retries:,} retries, {self.refusals:,} after refusals (429)")
        lines += [f"{count:,} x {code}" for code, count in self.errors.items()]
        if self.stopped is not None:
            lines.append(f"stopped by {type(self.stopped).__name__}: {self.stopped}")
        return "\n".join(lines)


class Tally:
    """The running counts of a batch; its size does not grow with the number of items."""

    def __init__(self) -> None:
        """Start the clock, with all counts at zero."""
        self._began = monotonic()
        self._ended: float | None = None
        self._latencies: Counter[int] = Counter()
        self._errors: Counter[str] = Counter()
        self.answered: int = 0
        self.failed: int = 0
        self.skipped: int = 0
        self.left: int = 0
        self.input_tokens: int = 0
        self.output_tokens: int = 0
        self.refusals: int = 0
        self.retries: int = 0
        self.stopped: DashScopeError | None = None

    def add(self, result: BatchResult) -> None:
        """Count a result."""
        error = result.error
        if error is None:
            self.answered += 1
            self._bill(result.unwrap().usage)
            self._latencies[floor(log(max(result.seconds, SHORTEST)) / STEP)] += 1
        else:
            self.failed += 1
            self._bill(error.usage)
            self._errors[error.code or type(error).__name__] += 1

    def end(self) -> None:
        """Stop the clock."""
        self._ended = monotonic()

    @property
    def summary(self) -> BatchSummary:
        """The counts as they are now."""
        return BatchSummary(
            answered=self.answered,
            failed=self.failed,
            skipped=self.skipped,
            left=self.left,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            refusals=self.refusals,
            retries=self.retries,
            errors=dict(self._errors.most_common()),
            p50=self._percentile(0.5),
            p95=self._percentile(0.95),
            seconds=(self._ended or monotonic()) - self._began,
            stopped=self.stopped,
        )

    def _bill(self, usage: Usage | None) -> None:
        if usage is not None:
            self.input_tokens += usage.input_tokens
            self.output_tokens += usage.output_tokens

    def _percentile(self, share: float) -> float | None:
        """Return the latency that this share of the answers did not exceed, accurate to 1 %."""
        missing = share * self.answered
        for step in sorted(self._latencies):
            missing -= self._latencies[step]
            if missing <= 0:
                return exp((step + 0.5) * STEP)
        return None
