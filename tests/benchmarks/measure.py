"""One measurement in a fresh Python: `python -m tests.benchmarks.measure CLIENT OPERATION ...`."""

from __future__ import annotations

import subprocess
import sys

from .clients import CLIENTS
from .operations import OPERATIONS


def cost(client: str, operation: str, server: str, amount: int) -> float:
    """Return the cost of an operation of a client, measured in a process of its own.

    Raises:
        RuntimeError: the measurement failed; contains the process's error output.
    """
    arguments = [client, operation, f"{server}/{OPERATIONS[operation].mode}", str(amount)]
    command = [sys.executable, "-m", f"{__package__}.measure", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{client} {operation}: {ended.stderr}")
    return float(ended.stdout.split()[-1])


def main() -> None:
    """Measure, and print the figure."""
    client, operation, server, amount = sys.argv[1:]
    print(OPERATIONS[operation].measure(CLIENTS[client], server, int(amount)))


if __name__ == "__main__":
    main()
