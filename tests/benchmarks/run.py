"""Measure this client and its peers: `nox -s bench`, or `python -m tests.benchmarks.run`.

A server with canned answers runs in one process; each measurement is made in a fresh Python, and
each round measures all clients.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from . import packages, plot, server, table
from .bars import Figures
from .clients import CLIENTS
from .measure import cost
from .operations import OPERATIONS, QUICK
from .results import Results


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="calls and frames only, in fewer rounds")
    add("--rounds", type=int, help="rounds: 7, or 3 if quick")
    add("--scale", type=float, help="times the usual size: 1, or 0.3 if quick")
    add("--install", action="store_true", help="install each package, and see what that takes")
    add("--out", type=Path, default=Path(".benchmarks"), help="folder for figures and plot")
    add("--clients", nargs="+", choices=CLIENTS, help="only these")
    add("--operations", nargs="+", choices=OPERATIONS, help="only these")
    return parser.parse_args()


def installed(clients: list[str]) -> list[str]:
    """Return the clients that are installed; warn about the others."""
    missing = [name for name in clients if find_spec(CLIENTS[name].needs) is None]
    for name in missing:
        print(f"{CLIENTS[name].label} is left out: not installed", file=sys.stderr)
    return [name for name in clients if name not in missing]


def turns(clients: list[str], operations: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the operation and the client of each measurement of a round."""
    for operation in operations:
        for client in clients:
            if CLIENTS[client].has_sync or not OPERATIONS[operation].is_sync:
                yield operation, client


def stay_on_one_core() -> None:
    """Pin this process and its children to one core, where the system supports it.

    The server then writes only while the client waits, and a client's threads stay on one core:
    the figures of two runs differ less, and no client gains from a second core.
    """
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def amount(operation: str, scale: float) -> int:
    """Return the number of operations that a figure is the mean of."""
    usual = OPERATIONS[operation]
    return max(1, round(usual.amount * scale)) if usual.scales else usual.amount


def measure(clients: list[str], operations: list[str], rounds: int, scale: float) -> Figures:
    """Return all figures; clients take turns, so that noise affects all alike."""
    figures: Figures = {}
    with server.running() as address:
        for number in range(rounds):
            for operation, client in turns(clients, operations):
                if sys.stderr.isatty():
                    label = f"round {number + 1} of {rounds}: {operation} {client}"
                    print(f"{label:60}", end="\r", file=sys.stderr)
                figure = cost(client, operation, address, amount(operation, scale))
                figures.setdefault(operation, {}).setdefault(client, []).append(figure)
    return figures


def main() -> None:
    """Measure, print the tables, and save them with the figures and the plot."""
    given = arguments()
    clients = installed(given.clients or list(CLIENTS))
    operations = given.operations or list(QUICK if given.quick else OPERATIONS)
    rounds = given.rounds or (3 if given.quick else 7)
    scale = given.scale or (0.3 if given.quick else 1.0)
    stay_on_one_core()
    figures = measure(clients, operations, rounds, scale)
    everything = not given.quick and not given.operations
    before = packages.costs(rounds=rounds, install=given.install) if everything else {}
    keep(Results.here(figures, before), given.out)


def keep(results: Results, folder: Path) -> None:
    """Print the tables; write them, the figures as JSON, and the plot."""
    tables = table.report(results)
    print(tables)
    folder.mkdir(parents=True, exist_ok=True)
    results.save(folder / "benchmarks.json")
    (folder / "benchmarks.md").write_text(tables, "utf-8")
    (folder / "benchmarks.svg").write_text(plot.draw(results), "utf-8")


if __name__ == "__main__":
    main()
