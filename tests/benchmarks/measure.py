"""One measurement in a fresh Python: `python -m tests.benchmarks.measure CLIENT OPERATION ...`."""

from __future__ import annotations

import os
import subprocess
import sys

from .clients import CLIENTS
from .operations import OPERATIONS

ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 22), "MALLOC_TRIM_THRESHOLD_": str(1 << 23)}
"""Settings of glibc's allocator, the same for all clients.

asyncio reads into 256 KiB at a time. Whether glibc asks the system for each of these anew, which
costs as much as all the rest of a frame, depends on what was freed before: on luck.
"""


def cost(client: str, operation: str, server: str, amount: int) -> float:
    """Return the cost of an operation of a client, measured in a process of its own.

    Raises:
        RuntimeError: the measurement failed; contains the process's error output.
    """
    arguments = [client, operation, f"{server}/{OPERATIONS[operation].mode}", str(amount)]
    command = [sys.executable, "-m", f"{__package__}.measure", *arguments]
    env = {**os.environ, **ALLOCATOR}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if ended.returncode:
        raise RuntimeError(f"{client} {operation}: {ended.stderr}")
    return float(ended.stdout.split()[-1])


def main() -> None:
    """Measure, and print the figure."""
    client, operation, server, amount = sys.argv[1:]
    print(OPERATIONS[operation].measure(CLIENTS[client], server, int(amount)))


if __name__ == "__main__":
    main()
