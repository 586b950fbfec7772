"""The CPU time to import this package and its peers, each in a fresh Python.

Run it where the peers are installed (`nox -s bench` does). It fails when importing this package
costs more than its bar, a share of `import openai`.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys

PACKAGE, PEER, SHARE = "llama_dashscope", "openai", 0.30
MODULES = [PACKAGE, "httpx", PEER, "dashscope"]


def cost(module: str) -> float:
    """Return the seconds of CPU time that one import takes in a fresh Python."""
    program = f"""
from time import process_time
began = process_time()
import {module}
print(process_time() - began)
"""
    # Isolated: what is installed, with its bytecode, whatever the folder and the environment.
    ended = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, check=True)
    return float(ended.stdout)


def measure(modules: list[str], rounds: int) -> dict[str, float]:
    """Return each module's cheapest import; they take turns, so that noise affects all alike."""
    taken = [{module: cost(module) for module in modules} for _ in range(rounds + 1)]
    return {module: min(each[module] for each in taken[1:]) for module in modules}


def main() -> None:
    """Print the table, and fail if importing the package costs more than its bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=7, help="imports of each module, after one to warm up"
    )
    modules = [each for each in MODULES if importlib.util.find_spec(each)]
    costs = measure(modules, parser.parse_args().rounds)
    for module, seconds in costs.items():
        share = f"{seconds / costs[PEER]:6.2f} of {PEER}" if PEER in costs else ""
        print(f"{module:16} {seconds * 1000:8.1f} ms {share}")
    if PEER in costs and costs[PACKAGE] > SHARE * costs[PEER]:
        sys.exit(f"import {PACKAGE} costs more than {SHARE} of import {PEER}")


if __name__ == "__main__":
    main()
