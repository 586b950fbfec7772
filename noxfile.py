"""Every check of this project. `nox` alone runs them all but the benchmarks.

A session does one job and can be run by name: `nox -s lint`, `nox -s "tests(3.12)"`.
Arguments after `--` go to pytest: `nox -s "tests(3.12)" -- -k streams`.
"""

from __future__ import annotations

import os
from pathlib import Path

import nox
from packaging.requirements import Requirement

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
OLDEST, NEWEST = PYTHONS[0], PYTHONS[-1]

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "types", "docs", "tests", "coverage"]
nox.options.envdir = os.environ.get("NOX_ENVDIR", ".nox")
nox.options.reuse_venv = "yes"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False  # a missing Python is skipped, and nox says so

# pyenv keeps each Python in a folder of its own, which need not be on PATH.
PYENV = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
FOLDERS = [str(found) for each in PYTHONS for found in PYENV.glob(f"versions/{each}.*/bin")]
os.environ["PATH"] = os.pathsep.join([*FOLDERS, os.environ["PATH"]])


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(PROJECT, name))


def floors(requirements: list[str]) -> list[str]:
    """Return the requirements with each `>=` as `==`: the oldest versions that they allow."""
    return [
        f"{each.name}=={bound.version}"
        for each in map(Requirement, requirements)
        for bound in each.specifier
        if bound.operator == ">="
    ]


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    session.install("--upgrade", *group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy and pyright, both strict; the share of the public API that is typed; tests of types."""
    session.install("--upgrade", ".[aiohttp]", *group("types"))
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "llama_dashscope", "--ignoreexternal")
    session.run("pytest", "tests/typing")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning or a broken reference fails it."""
    session.install("--upgrade", ".", *group("docs"))
    session.run("sphinx-build", "-W", "-n", "--keep-going", "-q", "docs", "docs/_build/html")


@nox.session
@nox.parametrize(
    ("python", "dependencies"),
    [
        nox.param(OLDEST, "lowest", id=f"{OLDEST}-lowest"),
        *(nox.param(each, "newest", id=each) for each in PYTHONS[1:]),
        nox.param(NEWEST, "base", id=f"{NEWEST}-base"),
    ],
)
def tests(session: nox.Session, dependencies: str) -> None:
    """Test the built wheel: one run a Python, the oldest with the lowest dependencies allowed.

    The `base` run leaves the extras out, so that what they bring can't be needed by accident. Tests
    beside the official SDK run where it gets the newest of everything.
    """
    wanted = PROJECT["project"]["dependencies"]
    if dependencies == "lowest":
        wanted = floors(wanted + PROJECT["project"]["optional-dependencies"]["aiohttp"])
    if dependencies == "newest":
        wanted = wanted + group("sdk")
    package = "." if dependencies == "base" else ".[aiohttp]"
    session.install("--upgrade", package, *wanted, *group("tests"))
    session.run(
        "pytest",
        *("--numprocesses=2", "--ignore=tests/typing"),
        *("--cov", "--cov-report=", "--cov-fail-under=0"),  # the coverage session judges
        *session.posargs,
        env={
            "COVERAGE_FILE": f".coverage.{session.python}-{dependencies}",
            "PYTHONSAFEPATH": "1",  # import what was installed, not what lies in this folder
        },
    )


@nox.session
def coverage(session: nox.Session) -> None:
    """Join what the test runs covered; every line and branch must be in it."""
    session.install("--upgrade", *(each for each in group("tests") if each.startswith("coverage")))
    session.run("coverage", "combine", success_codes=[0, 1])  # 1: a second look, nothing to join
    session.run("coverage", "report")


@nox.session(default=False)
def slow(session: nox.Session) -> None:
    """Run the tests that take minutes: peers that vanish, 2,500 callers at once, exits, storms."""
    session.install("--upgrade", ".[aiohttp]", *group("tests"))
    session.run("pytest", "-m=slow", *session.posargs, env={"PYTHONSAFEPATH": "1"})


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure this client beside its peers; arguments go to the suite."""
    session.install("--upgrade", ".[aiohttp]", *group("bench"))
    for script in sorted(Path("tests/benchmarks").glob("[!_]*.py")):
        session.run("python", str(script), *session.posargs)
