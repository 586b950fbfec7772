"""Runs programs that call a local server; returns their output and exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from llama_dashscope.testing import LocalDashScope

NO_FORK_WARNING = "ignore:This process:DeprecationWarning"
"""Python 3.12 warns of every fork of a process that has threads."""


def run_program(
    program: str, server: LocalDashScope, transport: str = "httpx", *arguments: str
) -> tuple[int, str, str]:
    """Run a program with a transport and the server's address as its first arguments.

    Returns its exit code, and what it wrote to stdout and stderr.

    If the test's time runs out first, it prints where the threads of all the program's processes
    were.
    """
    python = [sys.executable, "-W", NO_FORK_WARNING, "-X", "faulthandler"]
    with subprocess.Popen(
        [*python, "-c", program, transport, server.base_url, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as started:
        try:
            out, err = started.communicate()
        except BaseException:
            _abort(started)
            print(*started.communicate(), sep="\n")
            raise
    return started.returncode, out, err


def _abort(program: subprocess.Popen[str]) -> None:
    if sys.platform == "win32":
        program.kill()
    else:
        os.killpg(program.pid, signal.SIGABRT)
