"""Programs that import the official SDK get the same from this package, by the same requests.

Each runs in a Python of its own, with the SDK and with this package in front of it: `nox -s
programs` installs them one by one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
REFUSED = "refused"
"""The scenario in which the service refuses a call, which programs may raise."""

LIBRARIES = sorted(HERE.glob("libraries/*.py"))
"""Programs, each called like the library that it uses."""


def outcomes(side: str, program: Path, folder: Path) -> dict[str, Any]:
    """Run a program and return what its scenarios came to."""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", HERE / "run.py", side, program],
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        cwd=folder,  # some write their logs where they run
        capture_output=True,
        check=False,
        timeout=240,
    )
    assert ended.returncode == 0, ended.stderr.decode()[-2000:]
    lines = ended.stdout.decode().splitlines()
    return {
        name: outcome
        for line in lines
        if line.startswith("{")
        for name, outcome in json.loads(line).items()
    }


@pytest.mark.timeout(500)
@pytest.mark.parametrize("program", LIBRARIES, ids=lambda path: path.stem)
def test_a_program_gets_the_same(program: Path, tmp_path: Path) -> None:
    """Results and requests of each scenario are those of the official SDK."""
    for name in (program.stem, "dashscope"):
        if not any(metadata.distributions(name=name)):
            pytest.skip(f"{name} is not installed")
    theirs, ours = (outcomes(side, program, tmp_path) for side in ("theirs", "ours"))

    assert ours == theirs
    assert all(outcome["sent"] for outcome in theirs.values())
    raised = {name for name, each in theirs.items() if "raised" in each["seen"]}
    assert raised <= {REFUSED}
