"""2,000 questions on a real Ray of this machine: `nox -s ray`, as it takes minutes.

An actor is killed in the middle, then the driver; each question has one answer in the end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from llama_dashscope.testing import LocalDashScope

pq: Any = pytest.importorskip("pyarrow.parquet")  # no types where Ray is not installed
pytest.importorskip("ray")

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/examples/fleet/ray_dataset.py"
QUESTIONS, BLOCK, ACTORS = 2_000, 50, 2
UNDER_WAY = 4 * BLOCK
"""Questions that an actor may have under way: four batches."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def server() -> Iterator[LocalDashScope]:
    """Run a DashScope on this machine."""
    with LocalDashScope() as running:
        running.reply("ok")
        yield running


@contextmanager
def driving(server: LocalDashScope, folder: Path) -> Generator[subprocess.Popen[bytes]]:
    """Run the example on a Ray of its own."""
    # Ray's processes speak with each other by this machine's address, which the tests' guard of
    # connections takes for another machine's: they run without it.
    environment = {**os.environ, **server.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, EXAMPLE, folder], env=environment, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait for something while a program runs."""
    while not happened():
        assert process.poll() is None, "the driver has ended"
        time.sleep(0.05)


def actors(server: LocalDashScope) -> list[int]:
    """Find the processes of the actors that ask this server."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes()
            ours = server.base_url.encode() in (folder / "environ").read_bytes()
            if ours and words.startswith(b"ray::MapWorker(MapBatches(AskRows))"):
                found.append(int(folder.name))
    return found


def distinct_answers(folder: Path) -> int:
    """Count the rows, each of which must be there once and have an answer."""
    rows = pq.read_table(folder / "answers").to_pylist()
    assert {row["answer"] for row in rows} == {"ok"}
    assert len({row["id"] for row in rows}) == len(rows)
    return len(rows)


def test_an_actor_is_killed(server: LocalDashScope, tmp_path: Path) -> None:
    """Ray starts another one, and asks again what the first one had under way."""
    with driving(server, tmp_path) as driver:
        wait_until(lambda: len(server.requests) > QUESTIONS / 3, driver)
        victim, *_ = actors(server)
        os.kill(victim, signal.SIGKILL)

        assert driver.wait() == 0

    asked_twice = len(server.requests) - QUESTIONS
    assert distinct_answers(tmp_path) == QUESTIONS
    assert 0 <= asked_twice <= UNDER_WAY + BLOCK


def test_the_driver_is_killed(server: LocalDashScope, tmp_path: Path) -> None:
    """The next run goes on from the checkpoint."""
    with driving(server, tmp_path) as driver:
        wait_until(lambda: len(server.requests) > QUESTIONS / 2, driver)
    with driving(server, tmp_path) as driver:
        assert driver.wait() == 0

    assert distinct_answers(tmp_path) == QUESTIONS
    assert len(server.requests) - QUESTIONS <= ACTORS * (UNDER_WAY + BLOCK)
