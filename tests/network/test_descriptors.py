"""Calls where the system has no file descriptor left: errors of ours, and later calls work."""

from __future__ import annotations

import subprocess
import sys

import pytest

from llama_dashscope.testing import LocalDashScope

resource = pytest.importorskip("resource", reason="this system has no such limit")

PROGRAM = """
import os, resource, sys
import anyio
from llama_dashscope import APIConnectionError, Client

MODEL = "llama3.3-70b-instruct"
transport, backend, first, base_url = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))

async def main():
    async with Client("sk-local", base_url=base_url, transport=transport, retry=0) as client:
        if first == "later":
            async with Client("sk-local", base_url=base_url, transport=transport) as other:
                await other.acall(MODEL, "hi")
        taken = []
        try:
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        try:
            await client.acall(MODEL, "hi")
        except APIConnectionError as error:
            print("Too many open files" in str(error))
        for each in taken:
            os.close(each)
        print((await client.acall(MODEL, "hi")).text)

anyio.run(main, backend=backend)
"""


@pytest.mark.parametrize("first", ["first", "later"])
def test_none_left(stack: tuple[str, str], server: LocalDashScope, first: str) -> None:
    """The first call needs them for imports, each one for its connection."""
    server.reply("fine")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *stack, first, server.base_url],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("True\nfine\n", "")
