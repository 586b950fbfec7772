"""The tables of a run, as Markdown that reads well in a terminal too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from .bars import BARS, Figures
from .clients import CLIENTS
from .operations import OPERATIONS
from .packages import Cost
from .results import Results


def draw(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are aligned to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    drawn = [
        [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        for line in [lines[0], rule, *lines[1:]]
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in drawn)


def costs(figures: Figures) -> str:
    """Return the cost of each operation with each client: the median of the rounds."""
    clients = [name for name in CLIENTS if any(name in row for row in figures.values())]
    rows = [
        [
            f"{OPERATIONS[operation].label} ({OPERATIONS[operation].unit})",
            *(number(median(row[client])) if client in row else "" for client in clients),
        ]
        for operation, row in figures.items()
    ]
    return draw(["", *(CLIENTS[client].label for client in clients)], rows)


def number(value: float) -> str:
    """Format a figure with its significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def bars(figures: Figures) -> str:
    """Return the bounded ratios, and whether each keeps its bound."""
    rows = [
        [each.label, f"{ratio:.2f}", f"{each.bound:.2f}", "yes" if ratio <= each.bound else "NO"]
        for each in BARS
        if (ratio := each.ratio(figures)) is not None
    ]
    return draw(["ratio", "measured", "bar", "holds"], rows)


def over_floor(figures: Figures) -> str:
    """Return how much later each client's first frame comes than the floor's."""
    waits = {client: median(rounds) for client, rounds in figures.get("first", {}).items()}
    floor = waits.pop("floor", None)
    if floor is None:
        return ""
    later = (f"{CLIENTS[name].label} {wait - floor:+,.0f} µs" for name, wait in waits.items())
    return f"Time to the first frame, over the floor: {', '.join(later)}."


def packages(costs: dict[str, Cost]) -> str:
    """Return the costs of packages before the first call."""
    rows = [
        [
            label,
            f"{cost.import_time * 1000:.0f}",
            "" if cost.packages is None else str(cost.packages),
            "" if cost.megabytes is None else f"{cost.megabytes:.1f}",
        ]
        for label, cost in costs.items()
    ]
    return draw(["", "import (ms of CPU)", "packages", "MB on disk"], rows)


def report(results: Results) -> str:
    """Return all tables of a run, with the machine and the versions under them."""
    parts = [costs(results.figures), over_floor(results.figures), bars(results.figures)]
    if results.packages:
        parts.append(packages(results.packages))
    return "\n\n".join([*filter(None, parts), f"Measured on {results.place}."]) + "\n"
