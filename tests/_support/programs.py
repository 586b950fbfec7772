"""Runs programs that call a local server; returns their output and exit code."""

from __future__ import annotations

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

    A program that hangs fails the test after 40 seconds.
    """
    python = [sys.executable, "-W", NO_FORK_WARNING]
    ended = subprocess.run(
        [*python, "-c", program, transport, server.base_url, *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=40,
    )
    return ended.returncode, ended.stdout, ended.stderr
