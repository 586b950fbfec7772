"""The cost of a client before its first call: import time, and size on disk."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from .imports import measure

MEGA = 1e6


@dataclass(frozen=True)
class Package:
    """A package, and the requirement that installs it.

    Args:
        label: its name in tables.
        module: the module to import.
        requirement: what pip installs; a path is relative to the root of this project.
    """

    label: str
    module: str
    requirement: str


PACKAGES = [
    Package("this client", "llama_dashscope", "."),
    Package("this client, with its aiohttp extra", "llama_dashscope", ".[aiohttp]"),
    Package("dashscope", "dashscope", "dashscope"),
    Package("openai", "openai", "openai"),
]


@dataclass
class Cost:
    """The cost of a package.

    Args:
        import_time: seconds of CPU, the least of several imports in fresh Pythons.
        packages: how many are installed, its own included; None if that was not measured.
        megabytes: the size of all of them on disk, with what Python compiles at installation.
    """

    import_time: float
    packages: int | None = None
    megabytes: float | None = None


def costs(*, rounds: int, install: bool) -> dict[str, Cost]:
    """Return the cost of each package, by its label."""
    here = [package for package in PACKAGES if find_spec(package.module)]
    times = measure(list({package.module for package in here}), rounds)
    found = {package.label: Cost(times[package.module]) for package in here}
    if install:
        for package in here:
            cost = found[package.label]
            cost.packages, cost.megabytes = installed(package.requirement)
    return found


def installed(requirement: str) -> tuple[int, float]:
    """Install into an empty folder; return how many packages that adds, and their size in MB."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder]
        subprocess.run([*command, requirement], capture_output=True, check=True)
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        packages = len(list(Path(folder).glob("*.dist-info")))
        return packages, sum(path.stat().st_size for path in files) / MEGA
