"""The plot of a run, as SVG: a panel for each operation, a line for each client."""

from __future__ import annotations

from html import escape
from statistics import median

from .clients import CLIENTS
from .operations import OPERATIONS
from .results import Results
from .table import number

SHOWN = ("call_1", "call_50", "call_500", "alone", "burst", "sync_call", "sync_burst", "memory")
COLUMNS, WIDTH, MARGIN = 2, 440, 20
LINE, TITLE, GAP = 20, 30, 16
NAMES, LONGEST = 150, 230  # where the lines begin, and the length of the longest
COLOURS = {"floor": "#9aa3ad", "aiohttp": "#0b7a75", "httpx": "#4db6ac"}
PEER = "#d9a05b"


def text(x: float, y: float, words: str, more: str = "") -> str:
    """Return text at a position."""
    return f'<text x="{x:.0f}" y="{y:.0f}" {more}>{escape(words)}</text>'


def panel(left: float, top: float, operation: str, costs: dict[str, float]) -> list[str]:
    """Return an operation's panel: the shorter a line, the cheaper the client."""
    shown = OPERATIONS[operation]
    drawn = [text(left, top + 14, f"{shown.label} ({shown.unit})", 'font-weight="600"')]
    longest = max(costs.values())
    for position, (client, cost) in enumerate(costs.items()):
        y = top + TITLE + position * LINE
        length = max(1.0, cost / longest * LONGEST)
        colour = COLOURS.get(client, PEER)
        drawn += [
            text(left + NAMES - 8, y + 10, CLIENTS[client].label, 'text-anchor="end"'),
            f'<rect x="{left + NAMES}" y="{y}" width="{length:.1f}" height="13" fill="{colour}"/>',
            text(left + NAMES + length + 5, y + 10, number(cost)),
        ]
    return drawn


def draw(results: Results) -> str:
    """Return the plot, with the machine and the versions under it."""
    panels = [
        (name, {client: median(rounds) for client, rounds in results.figures[name].items()})
        for name in SHOWN
        if name in results.figures
    ]
    height = TITLE + GAP + LINE * max((len(costs) for _, costs in panels), default=0)
    drawn: list[str] = []
    for position, (name, costs) in enumerate(panels):
        row, column = divmod(position, COLUMNS)
        drawn += panel(MARGIN + column * WIDTH, MARGIN + row * height, name, costs)
    bottom = MARGIN + height * -(-len(panels) // COLUMNS)
    quiet = 'font-size="11" fill="#57606a"'
    drawn.append(text(MARGIN, bottom + 4, "CPU per operation, less is better.", quiet))
    drawn.append(text(MARGIN, bottom + 20, results.place, quiet))
    return page(MARGIN + COLUMNS * WIDTH, bottom + 36, drawn)


def page(width: float, height: float, drawn: list[str]) -> str:
    """Return the SVG document."""
    content = "\n".join(drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="12" fill="#24292f">\n'
        f"<title>What a call and a frame cost</title>\n"
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{content}\n</svg>\n'
    )
