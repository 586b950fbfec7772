"""Plots a run of a batch as SVG: answers and refusals per second, and latency."""

from collections.abc import Sequence
from time import monotonic
from typing import Final

import attrs

__all__ = ["Timeline"]

MOST: Final = 600
"""Most points of a curve; in a longer run each point covers more time."""

WIDTH: Final = 800
HEIGHT: Final = 140
MARGIN: Final = 60
GAP: Final = 50


@attrs.define
class Point:
    """The counts of one time span."""

    answers: int = 0
    failures: int = 0
    refusals: int = 0
    seconds: float = 0.0
    """Sum of the latencies of all answers."""

    def add(self, other: "Point") -> None:
        """Add the counts of another span."""
        self.answers += other.answers
        self.failures += other.failures
        self.refusals += other.refusals
        self.seconds += other.seconds


class Timeline:
    """Counts per second of a run, of bounded size however long it takes."""

    def __init__(self) -> None:
        """Start now."""
        self._began = monotonic()
        self._span = 1.0
        self._points: list[Point] = [Point()]
        self._refused = 0

    def answered(self, seconds: float) -> None:
        """Count an answer and how long it took."""
        point = self._now()
        point.answers += 1
        point.seconds += seconds

    def failed(self) -> None:
        """Count an item that failed."""
        self._now().failures += 1

    def refusals(self, total: int) -> None:
        """Update the total number of refusals so far."""
        self._now().refusals += total - self._refused
        self._refused = total

    def svg(self, title: str) -> str:
        """Return the plot.

        Args:
            title: the heading of the plot.
        """
        points, span = self._points, self._span
        charts = [
            ("answers per second", "#2a78b8", [point.answers / span for point in points]),
            ("refusals per second (429)", "#d9822b", [point.refusals / span for point in points]),
            ("failures per second", "#c23030", [point.failures / span for point in points]),
            (
                "seconds per answer",
                "#5c7080",
                [point.seconds / point.answers if point.answers else 0.0 for point in points],
            ),
        ]
        height = GAP + len(charts) * (HEIGHT + GAP)
        size = f'width="{WIDTH + 2 * MARGIN}" height="{height}"'
        font = 'font-family="sans-serif" font-size="12"'
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="{MARGIN}" y="24" font-size="16">{_escaped(title)}</text>',
        ]
        for row, (name, color, values) in enumerate(charts):
            parts += _chart(GAP + row * (HEIGHT + GAP), name, color, values, span * len(points))
        return "\n".join([*parts, "</svg>\n"])

    def _now(self) -> Point:
        at = int((monotonic() - self._began) / self._span)
        while at >= MOST:
            self._points = [_both(self._points[at : at + 2]) for at in range(0, MOST, 2)]
            self._span *= 2
            at = int((monotonic() - self._began) / self._span)
        while len(self._points) <= at:
            self._points.append(Point())
        return self._points[at]


def _both(points: Sequence[Point]) -> Point:
    made = Point()
    for point in points:
        made.add(point)
    return made


def _chart(top: int, name: str, color: str, values: Sequence[float], seconds: float) -> list[str]:
    """Draw one curve with its axes."""
    most = max(values) or 1.0
    step = WIDTH / max(1, len(values) - 1)
    bottom = top + HEIGHT
    line = " ".join(
        f"{MARGIN + at * step:.1f},{bottom - value / most * HEIGHT:.1f}"
        for at, value in enumerate(values)
    )
    right = MARGIN + WIDTH
    return [
        f'<path d="M{MARGIN} {top}V{bottom}H{right}" fill="none" stroke="#bbb"/>',
        f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.5"/>',
        f'<text x="{MARGIN}" y="{top - 6}" fill="{color}">{name}</text>',
        f'<text x="{MARGIN - 6}" y="{top + 10}" text-anchor="end">{most:.3g}</text>',
        f'<text x="{MARGIN - 6}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{right}" y="{bottom + 16}" text-anchor="end">{seconds:,.0f} s</text>',
    ]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
