"""The figures of a run, with its machine and versions."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from .bars import Figures
from .packages import Cost

DISTRIBUTIONS = ("aiohttp", "httpx", "dashscope", "openai")


@dataclass
class Results:
    """The figures of a run.

    Args:
        cpu: the model of the processor.
        python: its implementation and version.
        versions: of the distributions that were measured.
        figures: the costs of operations.
        packages: the costs of packages before the first call.
    """

    cpu: str
    python: str
    versions: dict[str, str]
    figures: Figures
    packages: dict[str, Cost]

    @classmethod
    def here(cls, figures: Figures, packages: dict[str, Cost]) -> Results:
        """Return results measured on this machine."""
        python = f"{platform.python_implementation()} {platform.python_version()}"
        versions = {name: version(name) for name in DISTRIBUTIONS if find_spec(name)}
        return cls(cpu(), python, versions, figures, packages)

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read saved results."""
        saved = json.loads(path.read_text("utf-8"))
        packages = {label: Cost(**cost) for label, cost in saved.pop("packages").items()}
        return cls(**saved, packages=packages)

    def save(self, path: Path) -> None:
        """Write all as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")

    @property
    def place(self) -> str:
        """Describe the machine and the versions of the run."""
        shown = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"{self.cpu}, {self.python}; {shown}"


def cpu() -> str:
    """Return the model of the processor, or its architecture if the system doesn't tell."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
