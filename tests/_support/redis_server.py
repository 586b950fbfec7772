"""A Redis server for a test: Debian's `redis-server` on a free port of this machine."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

PROGRAM = shutil.which("redis-server")
LONGEST_START = 10.0


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class RedisServer:
    """A Redis without persistence that can be killed, restarted and frozen."""

    def __init__(self, folder: Path) -> None:
        """Choose a port; the server is not started yet."""
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def start(self, *more: str) -> None:
        """Start it empty, and wait until it answers."""
        assert PROGRAM is not None
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", "."]
        self._process = subprocess.Popen(
            [PROGRAM, *words, *more], cwd=self.folder, stdout=subprocess.DEVNULL
        )
        until = monotonic() + LONGEST_START
        while not self._answers():
            assert self._process.poll() is None, "redis-server has ended"
            assert monotonic() < until, "redis-server does not answer"
            sleep(0.01)

    def kill(self) -> None:
        """Kill it, like a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Suspend it until `thaw`; its connections stay open."""
        assert sys.platform != "win32"
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume it."""
        assert sys.platform != "win32"
        os.kill(self.pid, signal.SIGCONT)

    def _answers(self) -> bool:
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection,
        ):
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        return False
