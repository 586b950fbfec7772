"""A service to ask, standard streams of every kind, and Ctrl-C at a chosen moment."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout

import pytest

from llama_dashscope.cli.main import main
from llama_dashscope.testing import LocalDashScope


class Stdin(io.TextIOWrapper):
    """Standard input with these bytes in it, from a pipe or typed at a terminal."""

    def __init__(self, data: bytes, encoding: str = "utf-8", *, terminal: bool = False) -> None:
        """Hold the bytes."""
        super().__init__(io.BytesIO(data), encoding=encoding)
        self._terminal = terminal

    def isatty(self) -> bool:
        """Say what kind of input this is."""
        return self._terminal


class Screen(io.TextIOWrapper):
    """A terminal to write to, which can have someone at it who presses Ctrl-C."""

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__(io.BytesIO(), encoding="utf-8")
        self.interrupt_at = "\0"
        """Ctrl-C comes as soon as this is on the screen."""

    def isatty(self) -> bool:
        """Be a terminal."""
        return True

    def write(self, text: str, /) -> int:
        """Show a text."""
        written = super().write(text)
        if self.interrupt_at in text:
            signal.raise_signal(signal.SIGINT)
        return written

    def main(self, argv: list[str]) -> int:
        """Run the command here.

        The streams are put in place so late because pytest puts its own there between fixtures
        and test.
        """
        with redirect_stdout(self), redirect_stderr(self):
            return main(argv)

    @property
    def text(self) -> str:
        """What is on the screen."""
        self.flush()
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalDashScope]:
    """Point the environment at a DashScope on this machine."""
    with LocalDashScope() as server:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture(autouse=True)
def piped(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pipe bytes into the command; nothing, unless a test says more."""

    def pipe(data: bytes, encoding: str = "utf-8") -> None:
        monkeypatch.setattr(sys, "stdin", Stdin(data, encoding))

    pipe(b"")
    return pipe


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Type at a terminal, Ctrl-D at the end."""

    def type_in(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", Stdin(data, terminal=True))

    return type_in


@pytest.fixture
def screen() -> Iterator[Screen]:
    """Give a terminal to run the command at, with Ctrl-C as Python has it by default."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield Screen()
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start the command as a program of its own, its streams on pipes."""
    started: list[subprocess.Popen[bytes]] = []

    def start(
        *arguments: str, stdin: int = subprocess.DEVNULL, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        whole = {**os.environ, **(env or {})}
        command = [sys.executable, "-m", "llama_dashscope", *arguments]
        pipe = subprocess.PIPE
        program = subprocess.Popen(command, stdin=stdin, stdout=pipe, stderr=pipe, env=whole)
        started.append(program)
        return program

    yield start
    for program in started:
        with program:  # which closes the pipes
            program.kill()
