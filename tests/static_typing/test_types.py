"""Type checkers understand the public API: what is right passes, what is wrong is caught.

`right.py` and its kin are checked with everything else by mypy and pyright. `wrong.py` holds calls
that must not pass; each is marked with the error that mypy has for it, and pyright must object to
the same lines.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WRONG = Path(__file__).with_name("wrong.py")
MARKED = re.compile(r"# E: (\S+)$")
REPORTED = re.compile(r"^.*wrong\.py:(\d+): error: .*\[([a-z-]+)\]$", re.MULTILINE)


@pytest.fixture
def expected() -> dict[int, str]:
    """Read the marks of wrong.py: line and mypy's code."""
    lines = enumerate(WRONG.read_text("utf-8").splitlines(), start=1)
    return {number: found[1] for number, line in lines if (found := MARKED.search(line))}


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """Copy wrong.py to where the project's settings don't exclude it."""
    return Path(shutil.copy(WRONG, tmp_path))


def run(*command: str | Path) -> str:
    """Run a checker that is expected to find errors and return what it prints."""
    ended = subprocess.run([sys.executable, "-m", *command], capture_output=True, check=False)
    assert ended.returncode == 1, ended.stderr
    return ended.stdout.decode()


def test_mypy_catches_each_wrong_call(wrong: Path, expected: dict[int, str]) -> None:
    """Mypy has the expected error for each marked line and none for the others."""
    output = run("mypy", "--no-pretty", "--hide-error-context", wrong)

    assert {int(line): code for line, code in REPORTED.findall(output)} == expected


def test_pyright_catches_each_wrong_call(wrong: Path, expected: dict[int, str]) -> None:
    """Pyright objects to each marked line and to no other."""
    report = json.loads(run("pyright", "--outputjson", wrong))
    found = {each["range"]["start"]["line"] + 1 for each in report["generalDiagnostics"]}

    assert found == set(expected)
