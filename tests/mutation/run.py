"""Change the code in many places, one at a time: which changes do the tests notice?

`nox -s mutants`, or `python -m tests.mutation.run` with mutmut installed. mutmut makes the changes
and gives each one to the tests that go through the changed function; its settings are in
pyproject.toml. A run takes a sample of the changes: for one seed the same, as far as the code is.
What passed unnoticed and is not explained in survivors.md is shown at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

GOAL = 95.0  # percent of the changes
FEW = "llama_dashscope._protocol.usage*"  # mutmut lists the changes once it has tried some
CHANGED = Path("mutants")  # where mutmut keeps the changed code
EXPLAINED = Path(__file__).with_name("survivors.md")
TESTS = {
    "_client": ["tests/client", "tests/batch", "tests/compat", "tests/otel"],
    "_network": ["tests/network"],
    "_protocol": ["tests/protocol", "tests/test_errors.py"],
}
CAST = re.compile(r"cast\((?:\"[^\"]*\"|[^,]*),")

OPTIONS = [
    "--timeout=15",
    "-pno:cacheprovider",
    # mutmut puts a frame of its own between caller and function, and is what a child would import:
    "--deselect=tests/network/test_transports.py::test_plain_http_warns",
    "--deselect=tests/client/test_sync_bridge.py::test_multiprocessing",
]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--sample", type=int, default=400, help="how many changes to try: 400")
    add("--all", action="store_true", help="try every change; takes hours")
    add("--seed", type=int, default=13, help="which sample: 13")
    add("--only", default="", help="only changes whose name begins so: llama_dashscope._client")
    add("--jobs", type=int, default=2, help="how many changes are tried at once: 2")
    return parser.parse_args()


def try_out(jobs: int, *names: str) -> None:
    """Let the tests look at these changes."""
    subprocess.run(["mutmut", "run", f"--max-children={jobs}", *names], check=True)


def asked(*command: str) -> str:
    """Return what mutmut prints."""
    return subprocess.run(["mutmut", *command], check=True, capture_output=True, text=True).stdout


def outcomes() -> dict[str, str]:
    """Return each change's name with what came of it."""
    lines = (line.strip().rpartition(": ") for line in asked("results", "--all=true").splitlines())
    return {name: outcome for name, _, outcome in lines if name}


def drawn(names: list[str], seed: int, size: int) -> list[str]:
    """Draw a sample that stays as it is where the code does."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())[:size]


def passes_again(name: str) -> bool:
    """Give a change to all tests of its room, in a process that has it from the start.

    Code that runs once in a process, during an import or behind a cache, mutmut gives to the one
    test that came first; and to it a usage error of pytest is a timeout.
    """
    print(f"once more: {name}", file=sys.stderr)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--rootdir=."]
    outcome = subprocess.run(
        [*command, *TESTS[name.split(".")[1]]],
        cwd=CHANGED,
        env={
            **os.environ,
            "MUTANT_UNDER_TEST": name,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(CHANGED.resolve()),
        },
        stdout=subprocess.DEVNULL,
        check=False,
    )
    return outcome.returncode == 0


def change(name: str) -> str:
    """Return the changed lines, without where they stand."""
    return changed_lines(asked("show", name))


def changed_lines(diff: str) -> str:
    """Return what a diff takes away and puts in, without indentation."""
    lines = [line for line in diff.splitlines() if line[:3] not in {"+++", "---"}]
    return "\n".join(line[0] + line[1:].strip() for line in lines if line[:1] in {"+", "-"})


def reason(lines: str) -> str:
    """Say that a change is explained; show it if it isn't."""
    before, _, after = lines.partition("\n")
    if CAST.search(before) and CAST.sub("", before[1:]) == CAST.sub("", after[1:]):
        return "the type in a cast"
    explained = changed_lines(EXPLAINED.read_text("utf-8"))
    return "explained in survivors.md" if lines in explained else lines


def percent(tried: list[str], unnoticed: list[str]) -> float:
    """Return how many of a hundred changes were noticed."""
    return 100 * (1 - len(unnoticed) / max(1, len(tried)))


def report(names: list[str], unnoticed: list[str]) -> None:
    """Print how many changes each room has had, and how many were noticed."""
    for room in [*TESTS, ""]:
        tried = [name for name in names if name.split(".")[1].startswith(room)]
        passed = [name for name in unnoticed if name in tried]
        noticed = len(tried) - len(passed)
        print(f"{room or 'all':12}{noticed:6} of {len(tried):5} {percent(tried, passed):6.1f} %")


def main() -> None:
    """Try a sample, say what was noticed, and fail below the goal."""
    given = arguments()
    os.environ["PYTEST_ADDOPTS"] = " ".join(OPTIONS)
    try_out(given.jobs, FEW)
    names = sorted(name for name in outcomes() if name.startswith(given.only))
    if not given.all:
        names = drawn(names, given.seed, given.sample)
    try_out(given.jobs, *names)
    seen = outcomes()
    unnoticed = [name for name in names if seen[name] != "killed" and passes_again(name)]
    for name in unnoticed:
        print(f"{name}\n{reason(change(name))}\n")
    report(names, unnoticed)
    if percent(names, unnoticed) < GOAL:
        sys.exit(f"less than {GOAL:g} % were noticed")


if __name__ == "__main__":
    main()
