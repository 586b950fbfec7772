"""The examples for Celery, Dask and Taskiq, with their workers: `nox -s queues`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from llama_dashscope.testing import LocalDashScope

QUEUES = {
    "celery_tasks.py": ("celery", "-A", "celery_tasks", "worker", "-c", "2", "--loglevel", "ERROR"),
    "taskiq_tasks.py": ("taskiq", "worker", "taskiq_tasks:broker", "--workers", "2"),
    "dask_map.py": (),  # it starts its workers itself
}
"""The words that start an example's workers."""


@contextmanager
def working(words: tuple[str, ...], environment: dict[str, str], folder: Path) -> Generator[None]:
    """Run the workers of a queue, and end them all at once: some take their time."""
    with subprocess.Popen(
        [sys.executable, "-m", *words],
        env=environment,
        cwd=folder,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield
        finally:
            assert sys.platform != "win32"
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", QUEUES)
def test_workers_share_a_pace(
    name: str,
    example: Callable[[str], str],
    examples: Path,
    environment: dict[str, str],
    server: LocalDashScope,
) -> None:
    """They ask all the questions."""
    server.reply("It is one.")
    words = QUEUES[name]
    with working(words, environment, examples) if words else nullcontext():
        printed = example(name)

    assert "It is one." in printed
    assert len(server.requests) in {20, 200}
