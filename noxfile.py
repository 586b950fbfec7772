"""Every check of this project. `nox` alone runs them all but the benchmarks.

One Python of those that pyproject.toml names is enough, and a newer one does; more are all used.

A session does one job and can be run by name: `nox -s lint`, `nox -s tests-3.12`.
Arguments after `--` go to pytest: `nox -s tests-3.12 -- -k streams`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox
from packaging.requirements import Requirement

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "types", "docs", "tests", "guests", "coverage"]
nox.options.envdir = os.environ.get("NOX_ENVDIR", ".nox")
nox.options.reuse_venv = "yes"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False  # a missing Python is skipped, and nox says so

# pyenv keeps each Python in a folder of its own, which need not be on PATH.
PYENV = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
FOLDERS = [str(found) for each in PYTHONS for found in PYENV.glob(f"versions/{each}.*/bin")]
os.environ["PATH"] = os.pathsep.join([*FOLDERS, os.environ["PATH"]])

# One run of the tests a Python. Of those that are here, the oldest gets the lowest dependencies
# that are allowed, the newest but one goes without the extras, the others get the newest of all.
# Where none of them is here, the Python that runs nox does: one that is newer than they are.
HERE = [each for each in PYTHONS if shutil.which(f"python{each}")]
BETWEEN = HERE[1:-1]
BASE, LOWEST = BETWEEN[-1:], HERE[:-1][:1]

# Extras that sessions of their own test: they bring much, and have floors of their own for it.
FRAMEWORKS = {"langchain", "llamaindex", "ray"}

# Every fault, times transports, times event loops, takes minutes: the newest Python sees them all,
# and measures the coverage.
MANY = [
    "--ignore=tests/faults",
    "--ignore=tests/network/test_reuse_and_replay.py",
    "--deselect=tests/fastapi/test_chat.py::test_its_own_tests_pass",
]

WORKERS = 2 * (os.cpu_count() or 1)  # most of these tests wait for most of their time


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
    session.run("pytest", "tests/static_typing")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning or a broken reference fails it."""
    session.install("--upgrade", ".[fastapi,langchain,llamaindex,otel,redis]", *group("docs"))
    session.run("sphinx-build", "-W", "-n", "--keep-going", "-q", "docs", "docs/_build/html")


@nox.session(python=PYTHONS if HERE else None)
def tests(session: nox.Session) -> None:
    """Test the built wheel, with the dependencies that this Python's run is for."""
    package, wanted = ".[aiohttp]", PROJECT["project"]["dependencies"]
    if session.python in LOWEST:
        extras = PROJECT["project"]["optional-dependencies"]
        ours = [extra for name, extra in extras.items() if name not in FRAMEWORKS]
        wanted = floors(wanted + [each for extra in ours for each in extra])
    elif session.python in BASE:
        package = "."
    else:
        wanted = wanted + group("sdk")  # tests beside it need the newest of everything
    session.install("--upgrade", package, *wanted, *group("tests"))
    with_wheels = ("python", "-m", "pip", "install", "--upgrade", "--only-binary=:all:")
    session.run(*with_wheels, *group("uvloop"), success_codes=[0, 1])  # 1: it has none for us
    env = {"PYTHONSAFEPATH": "1"}  # import what was installed, not what lies in this folder
    pytest = f"{session.bin}/pytest"
    run = [f"--numprocesses={WORKERS}", "--dist=worksteal", "--ignore=tests/static_typing"]
    if session.python in LOWEST + BETWEEN:
        session.run(pytest, *run, *MANY, *session.posargs, env=env)
        return
    env["COVERAGE_FILE"] = ".coverage.tests"
    session.run("coverage", "erase", env=env)
    # From the start of the process: pytest loads our plugin.
    session.run("coverage", "run", pytest, *run, *session.posargs, env=env)


@nox.session
def guests(session: nox.Session) -> None:
    """Test the package in other frameworks, with the tests that those have for their members."""
    # pytest-benchmark, which LangChain's tests bring, does not know pytest 9.2 yet.
    package = ".[langchain,llamaindex]"
    session.install("--upgrade", package, *group("guests"), *group("tests"), "pytest<9.1")
    env = {"COVERAGE_FILE": ".coverage.guests", "PYTHONSAFEPATH": "1"}
    session.run(
        *("coverage", "run", f"{session.bin}/pytest"),
        *("tests/langchain", "tests/llamaindex", "tests/haystack", "tests/comparison"),
        *session.posargs,
        env=env,
    )


# Programs that use the official SDK, and what to install for each: the newest of all that asks the
# service by the SDK's text generation.
PROGRAMS = {
    "agentscope": ["agentscope<2", "greenlet", "mcp<2"],  # agentscope 2 asks by another protocol
    "langchain-community": ["langchain-community", "langgraph"],
    "langchain-dashscope": ["langchain-dashscope", "langchain-core<0.3"],
    "llama-index-llms-dashscope": ["llama-index-llms-dashscope"],
    "modelscope-agent": ["dashscope", "jieba", "json5", "jsonref", "openai", "pyyaml", "tiktoken"],
    "qwen-agent": ["qwen-agent", "numpy", "python-dateutil", "soundfile"],
}
WITHOUT_MORE = ["modelscope-agent"]  # the rest of its requirements is not for its chat models


@nox.session(default=False)
@nox.parametrize("program", list(PROGRAMS), ids=list(PROGRAMS))
def programs(session: nox.Session, program: str) -> None:
    """Run a program with the official SDK and with this package: same results, same requests."""
    # What the newest SDK imports; where a program asks for an older one, that brings less.
    needs = ["httpx-sse", "requests", "rich", "tenacity", "tiktoken", "typer", "websocket-client"]
    session.install("--upgrade", ".", *PROGRAMS[program], *needs, *group("tests"))
    alone = [each for each in WITHOUT_MORE if each == program]
    sdk = [each for each in group("sdk") if each.startswith("dashscope")]
    session.install("--no-deps", *alone, *sdk)  # some ask for an older SDK
    chosen = f"test_a_program_gets_the_same[{program}]"
    session.run("pytest", f"tests/programs/test_programs.py::{chosen}", *session.posargs)


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


@nox.session(python=HERE[-1:] or None, default=False)  # mutmut's bookkeeping crashes Python 3.11
def mutants(session: nox.Session) -> None:
    """Change the code in 400 places, one at a time: do the tests notice? Takes an hour."""
    session.install("--upgrade", ".[aiohttp]", *group("mutants"))
    session.run("python", "-m", "tests.mutation.run", *session.posargs)


@nox.session(default=False)
def upstream_real(session: nox.Session) -> None:
    """Put a real llama.cpp behind the local DashScope, as the guide's page does."""
    engine = ["gguf", "numpy", "xllamacpp"]
    session.install("--upgrade", ".", *engine, *group("tests"))
    session.run("pytest", "tests/local_server/real_upstream/real_llama_cpp.py")


@nox.session(default=False)
def ray(session: nox.Session) -> None:
    """Answer 2,000 questions on a real Ray, without a dashboard, and kill it; takes minutes."""
    session.install("--upgrade", ".[ray]", *group("tests"))
    session.run("pytest", "tests/ray/real_ray.py", *session.posargs)


@nox.session(default=False)
def queues(session: nox.Session) -> None:
    """Run the examples for Celery, Dask and Taskiq with their workers, on a real Redis."""
    session.install("--upgrade", ".[redis]", *group("queues"), *group("tests"))
    session.run("pytest", "tests/redis/real_queues.py", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure this client beside its peers; arguments go to the suite."""
    session.install("--upgrade", ".[aiohttp]", *group("bench"))
    session.run("python", "-m", "tests.benchmarks.run", *session.posargs)
    session.run("python", "tests/benchmarks/imports.py")
