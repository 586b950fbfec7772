"""The load that 1,000 clients put on a failing service, with and without the retry budget.

    python tests/benchmarks/retry_storm.py docs/images/retry-budget.svg

A simulation with a clock of its own: each client makes one call per second at random moments and
retries by this package's own `Retry` and `Budget`. For five minutes every request fails.
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from attrs import frozen

from llama_dashscope import Retry, ServiceUnavailableError
from llama_dashscope._client.retry import Budget

CLIENTS = 1_000
DOWN, UP, END = 60, 360, 480  # seconds
ENDLESS = 10**9
FAILURE = ServiceUnavailableError("down", status_code=503, retryable=True)

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 300, 60, 40, 40


@frozen
class Run:
    """What the service saw."""

    name: str
    colour: str
    load: list[int]
    """Requests in each second."""

    @property
    def outage(self) -> int:
        """Requests while the service was down."""
        return sum(self.load[DOWN:UP])


def simulate(retry: Retry) -> list[int]:
    """Count the requests that arrive in each second."""
    chance = random.Random(5)
    load = [0] * END
    budgets = [Budget(retry.budget) for _ in range(CLIENTS)]
    order = count()
    due: list[tuple[float, int, int, int]] = [
        (chance.expovariate(1), next(order), client, 1) for client in range(CLIENTS)
    ]
    heapq.heapify(due)
    while due:
        now, _, client, tries = heapq.heappop(due)
        if now >= END:
            continue
        load[int(now)] += 1
        if tries == 1:
            heapq.heappush(due, (now + chance.expovariate(1), next(order), client, 1))
        if not DOWN <= now < UP:
            budgets[client].earn()
            continue
        pause = retry.pause(FAILURE, tries, chance.random())
        if pause is not None and budgets[client].spend():
            heapq.heappush(due, (now + pause, next(order), client, tries + 1))
    return load


def place(second: float, requests: float, highest: float) -> str:
    """Return a point of the plot."""
    x = LEFT + second / END * (WIDTH - LEFT - 20)
    y = HEIGHT - BOTTOM - requests / highest * (HEIGHT - TOP - BOTTOM)
    return f"{x:.1f},{y:.1f}"


def text(point: str, words: str, more: str = "") -> str:
    """Return text at a point."""
    x, _, y = point.partition(",")
    return f'<text x="{x}" y="{y}" {more}>{words}</text>'


def draw(runs: list[Run]) -> Iterator[str]:
    """Draw the plot as SVG."""
    highest = 1.1 * max(max(run.load) for run in runs)
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
    yield ' font-family="sans-serif" font-size="12" fill="#333">'
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    left, right = (float(place(at, 0, highest).partition(",")[0]) for at in (DOWN, UP))
    yield f'<rect x="{left}" y="{TOP}" width="{right - left}" height="{HEIGHT - TOP - BOTTOM}"'
    yield ' fill="#eee"/>'
    yield text(place((DOWN + UP) / 2, highest * 0.02, highest), "the service fails", MIDDLE)
    for requests in range(0, int(highest), 1_000):
        yield text(place(-4, requests - 40, highest), f"{requests:,}", 'text-anchor="end"')
        line = f"M{place(0, requests, highest)} L{place(END, requests, highest)}"
        yield f'<path d="{line}" stroke="#ccc"/>'
    for second in range(0, END + 1, 60):
        yield text(place(second, -highest * 0.08, highest), f"{second} s", MIDDLE)
    yield text("60,20", "Requests a second from 1,000 clients", 'font-weight="bold"')
    for at, run in enumerate(runs):
        line = " ".join(place(second, load, highest) for second, load in enumerate(run.load))
        yield f'<polyline points="{line}" fill="none" stroke="{run.colour}" stroke-width="1.5"/>'
        yield text(f"{330 + 180 * at},20", f"\N{EM DASH} {run.name}", f'fill="{run.colour}"')
    yield "</svg>\n"


MIDDLE = 'text-anchor="middle" fill="#777"'


def main() -> None:
    """Simulate, print the figures, and draw them if a file is named."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("svg", nargs="?", type=Path)
    arguments, _ = parser.parse_known_args()
    runs = [
        Run("without a budget", "#c0392b", simulate(Retry(budget=ENDLESS))),
        Run("with it (the default)", "#2471a3", simulate(Retry())),
    ]
    calls = CLIENTS * (UP - DOWN)
    for run in runs:
        peak, last = max(run.load), sum(run.load[UP - 60 : UP]) // 60
        print(f"{run.name}: {run.outage:,} requests for about {calls:,} calls while it was down,")
        print(f"  {run.outage / calls:.2f} a call; highest {peak:,} a second,", end=" ")
        print(f"{last:,} a second in the last minute before it came back")
    if arguments.svg:
        arguments.svg.write_text("\n".join(draw(runs)), "utf-8")


if __name__ == "__main__":
    main()
