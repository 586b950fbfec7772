"""The command as a program of its own: real pipes, real signals, a real terminal."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest

from llama_dashscope.testing import LocalDashScope, Reply, Stall

pytest.importorskip("pty", reason="terminals like these are Unix's", exc_type=ImportError)

import fcntl
import pty
import termios

Start = Callable[..., "subprocess.Popen[bytes]"]

ON_A_TERMINAL = """
import fcntl, os, runpy, sys, termios
sys.modules |= dict.fromkeys(os.environ["WITHOUT"].split())
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that its keys send signals
sys.argv[0] = "llama-dashscope"
runpy.run_module("llama_dashscope", run_name="__main__")
"""


def stream(pipe: IO[bytes] | None) -> IO[bytes]:
    """Return a stream of a program that was started with a pipe for it."""
    assert pipe is not None
    return pipe


class Terminal:
    """A program at a terminal, and the one who sits there."""

    def __init__(
        self, *arguments: str, term: str = "dumb", without: str = "", stdout: int | None = None
    ) -> None:
        """Start `llama-dashscope` with these arguments, where some modules are not installed."""
        self._ours, its = pty.openpty()
        self.program = subprocess.Popen(
            [sys.executable, "-c", ON_A_TERMINAL, *arguments],
            stdin=its,
            stdout=its if stdout is None else stdout,
            stderr=its,
            start_new_session=True,
            env={
                **os.environ,
                "TERM": term,
                "WITHOUT": without,
                "PROMPT_TOOLKIT_NO_CPR": "1",  # nobody here tells where the cursor is
            },
        )
        os.close(its)
        self._unread = ""

    def press(self, keys: str) -> None:
        r"""Type; "\r" is Enter, "\x03" Ctrl-C, "\x04" Ctrl-D."""
        os.write(self._ours, keys.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C until it ends the line: Python's readline overlooks it between two keys.

        There it may wait for a key that Ctrl-C took from it, so there is another key after silence.
        """
        self._unread = ""
        self.press("\x03")
        while "\n" not in self._unread:
            if self._comes(2.0):
                self._unread += self._read()
            else:
                self.press(" ")
                self._comes(2.0)
                self.press("\x03")

    def see_prompt(self) -> None:
        """Wait until an editor that draws its lines more than once has begun a new one."""
        self.see("\x1b[?2004h")  # it asks the terminal to mark pastes, and then draws
        self.see(">")

    def see(self, text: str) -> None:
        """Wait until a text is on the screen, behind what was seen before."""
        while text not in self._unread:
            more = self._read()
            assert more, f"{text!r} never came, but {self._unread!r}"
            self._unread += more
        self._unread = self._unread.partition(text)[2]

    def end(self) -> tuple[str, int]:
        """Wait for the program's end, and return what was still unread and its exit code."""
        while more := self._read():
            self._unread += more
        return self._unread.replace("\r\n", "\n"), self.program.wait(20)

    def close(self) -> None:
        """Leave, whatever the program does."""
        self.program.kill()
        self.program.wait()
        os.close(self._ours)

    def _comes(self, patience: float) -> bool:
        return bool(select.select([self._ours], [], [], patience)[0])

    def _read(self, patience: float = 20.0) -> str:
        """Return what comes next; nothing once the program has gone."""
        assert self._comes(patience), f"silence for {patience} s after {self._unread!r}"
        try:
            return os.read(self._ours, 4096).decode()
        except OSError:  # how Linux says that the other end is closed
            return ""


@pytest.fixture
def sit_down() -> Iterator[Callable[..., Terminal]]:
    """Start the command at a terminal."""
    terminals: list[Terminal] = []

    def sit_down(*arguments: str, **how: Any) -> Terminal:
        terminals.append(Terminal(*arguments, **how))
        return terminals[-1]

    yield sit_down
    for terminal in terminals:
        terminal.close()


Sit = Callable[..., Terminal]


def test_the_answer_comes_as_it_is_written(server: LocalDashScope, start: Start) -> None:
    """What has arrived is in the pipe while the rest isn't even sent."""
    server.reply(Reply(pieces=["Hel", "lo"]))
    server.fault(Stall(after=1))

    program = start("chat", "hi")

    assert stream(program.stdout).read(3) == b"Hel"
    assert server.running == 1


def test_a_pipe_is_read(server: LocalDashScope, start: Start) -> None:
    """`echo ... | llama-dashscope chat` asks what echo says."""
    server.reply(lambda request: f"{request.text}!")
    program = start("chat", stdin=subprocess.PIPE)

    out, err = program.communicate("介绍一下自己\n".encode(), timeout=30)

    assert (program.returncode, out.decode(), err) == (0, "介绍一下自己!\n", b"")


def test_local_answers_without_anything(start: Start) -> None:
    """The first command of the README, as a program of its own."""
    program = start("chat", "--local", "介绍一下自己")

    out, err = program.communicate(timeout=30)

    assert (program.returncode, err) == (0, b"")
    assert out.decode().startswith("你好，")


def test_ctrl_c_ends_a_question_with_130(server: LocalDashScope, start: Start) -> None:
    """The signal stops the call: the line is ended, no traceback, and the service sees it."""
    server.reply(Reply(pieces=["Hel", "lo"]))
    server.fault(Stall(after=1))
    program = start("chat", "hi")
    assert stream(program.stdout).read(3) == b"Hel"

    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=30)

    assert (program.returncode, out, err) == (130, b"\n", b"")
    server.wait_idle()
    assert server.exchanges[0].outcome == "client left"


def test_ctrl_c_while_a_pipe_is_read_ends_with_130(start: Start) -> None:
    """Waiting for a question that never comes is ended like anything else."""
    program = start("chat", stdin=subprocess.PIPE)
    wait_until_it_reads(program)

    program.send_signal(signal.SIGINT)

    assert program.wait(30) == 130
    assert stream(program.stderr).read() == b""


def wait_until_it_reads(program: subprocess.Popen[bytes]) -> None:
    """Wait until a program has taken what is in its stdin, which means that it reads there."""
    pipe = stream(program.stdin)
    pipe.write(b"q")
    pipe.flush()
    deadline = time.monotonic() + 20
    while unread(pipe.fileno()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def unread(pipe: int) -> int:
    """Tell how many bytes a pipe holds."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_serve_answers_until_ctrl_c(start: Start) -> None:
    """What serve prints leads chat there."""
    service = start("serve", "--port", "0", "--reply", "Hello from the shell.")
    words = iter(stream(service.stdout).readline, b"")
    address = next(line for line in words if b"DASHSCOPE_HTTP_BASE_URL=" in line)
    url = address.decode().partition("=")[2].strip()

    chat = start("chat", "hi", "--base-url", url, env={"DASHSCOPE_API_KEY": "sk-local"})

    assert chat.communicate(timeout=30) == (b"Hello from the shell.\n", b"")
    service.send_signal(signal.SIGINT)
    assert service.wait(30) == 0


def test_head_ends_an_answer_quietly(server: LocalDashScope, start: Start) -> None:
    """A reader that leaves stops the call, as no failure."""
    server.reply(Reply(pieces=["one\n", *["more\n"] * 1000], tokens_per_second=100))
    program = start("chat", "hi")

    assert stream(program.stdout).readline() == b"one\n"
    stream(program.stdout).close()

    assert program.wait(30) == 0
    assert stream(program.stderr).read() == b""
    server.wait_idle()
    assert server.exchanges[0].outcome == "client left"


def test_a_conversation_at_a_terminal(server: LocalDashScope, sit_down: Sit) -> None:
    """Questions and answers alternate; Ctrl-D leaves the shell's prompt a line of its own."""
    server.reply(["one", "two"])
    terminal = sit_down("chat")

    terminal.see("> ")
    terminal.press("first\r")
    terminal.see("one\r\n> ")
    terminal.press("second\r")
    terminal.see("two\r\n> ")
    terminal.press("\x04")

    assert terminal.end() == ("\n", 0)
    assert [message["content"] for message in server.requests[1].messages][1:] == [
        *("first", "one", "second")
    ]


def test_lines_are_edited(server: LocalDashScope, sit_down: Sit) -> None:
    """The keys of readline work where Python has it: Ctrl-A, Ctrl-K, and up for the last line."""
    pytest.importorskip("readline", reason="this Python has no readline", exc_type=ImportError)
    server.reply(["one", "two"])
    terminal = sit_down("chat")

    terminal.see("> ")
    terminal.press("world\x01hello \r")
    terminal.see("one")
    terminal.see("> ")
    terminal.press("\x1b[A!\r")
    terminal.see("two")

    assert [request.text for request in server.requests] == ["hello world", "hello world!"]


PASTE = "\x1b[200~def f():\r    pass\r\x1b[201~"
"""What a terminal makes of two pasted lines for a program that has asked it to mark pastes.

Below, what is seen has no blanks: prompt_toolkit moves the cursor in their place.
"""


@pytest.mark.parametrize("without", ["", "prompt_toolkit"], ids=["prompt_toolkit", "readline"])
def test_pasted_lines_are_one_question(server: LocalDashScope, sit_down: Sit, without: str) -> None:
    """Nothing is asked before Enter, and more can be typed behind what was pasted."""
    for module in {"prompt_toolkit", "readline"} - {without}:
        pytest.importorskip(module, exc_type=ImportError)
    server.reply(["one", "two"])
    terminal = sit_down("chat", term="xterm", without=without)

    terminal.see_prompt()
    terminal.press(f"What is this?{PASTE}(in Python)")
    terminal.see("Python)")
    terminal.press("\r")
    terminal.see("one")
    terminal.see_prompt()
    terminal.press("\x04")

    assert terminal.end()[1] == 0
    assert [request.text for request in server.requests] == [
        "What is this?def f():\n    pass\n(in Python)"
    ]


def test_alt_enter_begins_a_line(server: LocalDashScope, sit_down: Sit) -> None:
    """With prompt_toolkit a key does it; Ctrl-C throws the question away, up brings one back."""
    pytest.importorskip("prompt_toolkit")
    server.reply(["one", "two"])
    terminal = sit_down("chat", term="xterm")

    terminal.see_prompt()
    terminal.press("wrong\x1b\rlines\x03")
    terminal.see_prompt()
    terminal.press("first\x1b\rsecond\r")
    terminal.see("one")
    terminal.see_prompt()
    terminal.press("\x1b[A!\r")
    terminal.see("two")
    terminal.see_prompt()
    terminal.press("\x04")

    assert terminal.end()[1] == 0
    assert [request.text for request in server.requests] == ["first\nsecond", "first\nsecond!"]


@pytest.mark.parametrize(("term", "without"), [("dumb", ""), ("dumb", "readline"), ("xterm", "")])
def test_a_backslash_goes_on_in_the_next_line(
    server: LocalDashScope, sit_down: Sit, term: str, without: str
) -> None:
    """It works with every editor, and without one."""
    terminal = sit_down("chat", term=term, without=without)
    see_prompt = terminal.see_prompt if term == "xterm" else partial(terminal.see, "> ")

    see_prompt()
    terminal.press("first\\\r")
    terminal.see("...")
    terminal.press("second\r")
    see_prompt()

    assert [request.text for request in server.requests] == ["first\nsecond"]
    terminal.press("\x04")
    assert terminal.end()[1] == 0


def test_without_an_editor_it_says_what_a_paste_is(server: LocalDashScope, sit_down: Sit) -> None:
    """Each line is a question and costs; whoever sits there is told, and what to install."""
    terminal = sit_down("chat", without="readline")

    terminal.see("Each pasted line is one question; the extra `chat` keeps them together.")
    terminal.see(">")


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_prompts_stay_out_of_a_file(
    server: LocalDashScope, sit_down: Sit, tmp_path: Path, term: str
) -> None:
    """`chat > out.txt` writes the answers there; the conversation goes on at the terminal."""
    server.reply(["one", "two"])
    with (tmp_path / "out.txt").open("wb") as out:
        terminal = sit_down("chat", stdout=out.fileno(), term=term)

    see_prompt = terminal.see_prompt if term == "xterm" else partial(terminal.see, "> ")
    for question in ("first", "second"):
        see_prompt()
        terminal.press(f"{question}\r")
    see_prompt()
    terminal.press("\x04")

    assert terminal.end()[1] == 0
    assert (tmp_path / "out.txt").read_text() == "one\ntwo\n"
    assert [request.text for request in server.requests] == ["first", "second"]


def test_ctrl_c_stops_the_answer_and_not_the_program(server: LocalDashScope, sit_down: Sit) -> None:
    """The service is told at once; the next question knows what had been said."""
    server.reply([Reply(pieces=["Hel", "lo"]), "there"])
    server.fault(Stall(after=1))
    terminal = sit_down("chat")

    terminal.see("> ")
    terminal.press("hi\r")
    terminal.see("Hel")
    terminal.press("\x03")
    terminal.see("> ")
    server.wait_idle()
    terminal.press("go on\r")
    terminal.see("there\r\n> ")
    terminal.press("\x04")

    assert terminal.end()[1] == 0
    assert server.exchanges[0].outcome == "client left"
    assert server.requests[1].messages[2] == {"role": "assistant", "content": "Hel"}


def test_ctrl_c_before_the_first_word_forgets_the_question(
    server: LocalDashScope, sit_down: Sit
) -> None:
    """Nothing was said, so nothing is remembered."""
    server.fault(Stall(after=0))
    terminal = sit_down("chat")

    terminal.see("> ")
    terminal.press("lost\r")
    server.wait_for(lambda server: server.running == 1, timeout=20)
    terminal.press("\x03")
    terminal.see("> ")
    terminal.press("found\r")
    terminal.see("know?\r\n> ")

    assert server.requests[1].messages[1:] == [{"role": "user", "content": "found"}]


def test_ctrl_c_at_the_prompt_gives_a_new_one(server: LocalDashScope, sit_down: Sit) -> None:
    """A line begun is thrown away, and the conversation goes on."""
    terminal = sit_down("chat")

    terminal.see("> ")
    terminal.press("not me")
    terminal.see("not me")
    terminal.interrupt()
    terminal.see("> ")
    terminal.press("but me\r")
    terminal.see("know?\r\n> ")
    terminal.press("\x04")

    assert terminal.end() == ("\n", 0)
    assert [request.text for request in server.requests] == ["but me"]


def test_ctrl_c_ends_a_question_at_a_terminal(server: LocalDashScope, sit_down: Sit) -> None:
    """With a prompt on the command line there is one answer, and Ctrl-C ends the program."""
    server.fault(Stall(after=0))
    terminal = sit_down("chat", "hi")
    server.wait_for(lambda server: server.running == 1, timeout=20)

    terminal.press("\x03")

    out, code = terminal.end()
    assert code == 130
    assert out == "^C\n"
