"""Reads questions at a terminal; a question may have several lines, typed or pasted."""

import importlib
import io
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Final, TextIO, final

from .terminal import is_terminal, replace_unencodable, write

__all__ = ["LineEditor"]

PROMPT: Final = "> "
FURTHER: Final = "... "
CONTINUED: Final = "\\"
"""At the end of a line: the question continues on the next one."""

ReadLine = Callable[[str], str]


@final
class LineEditor:
    """Reads questions from the user at the terminal.

    It uses prompt_toolkit if it is installed (extra `chat`), else Python's readline, else the
    terminal's own line editing. If stdout is not a terminal, prompts go to stderr.
    """

    def __init__(self) -> None:
        replace_unencodable(sys.stdin)
        self._screen = sys.stdout if is_terminal(sys.stdout) else sys.stderr
        toolkit = _toolkit(self._screen)
        self.keeps_pastes: bool = toolkit is not None
        """Whether several pasted lines are one question; else each line is a separate one."""
        if toolkit:
            self._read: ReadLine = toolkit
        elif self._screen is sys.stdout:
            self.keeps_pastes = _prepare_readline()
            self._read = input
        else:
            self._read = partial(_read_plainly, self._screen)

    def next_question(self) -> str | None:
        """Read a question; empty if the user entered none, None at the end of the input."""
        try:
            return self._read_lines().strip()
        except KeyboardInterrupt:
            self._end_line()
            return ""
        except EOFError:
            self._end_line()
            return None

    def _read_lines(self) -> str:
        line = self._read(PROMPT)
        whole = line
        while line.endswith(CONTINUED):
            line = self._read(FURTHER)
            whole = f"{whole.removesuffix(CONTINUED)}\n{line}"
        return whole

    def _end_line(self) -> None:
        write("\n", self._screen)


def _toolkit(screen: TextIO | None) -> ReadLine | None:
    """Return prompt_toolkit's editor if it is installed and the terminal supports it."""
    if _is_dumb() or not (_is_file(sys.stdin) and _is_file(screen)):
        return None
    try:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
        from prompt_toolkit.output import create_output
    except ImportError:
        return None
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    session = PromptSession[str](
        output=create_output(stdout=screen),
        key_bindings=keys,
        multiline=True,
        prompt_continuation=FURTHER,
    )
    return session.prompt


def _is_dumb() -> bool:
    return os.environ.get("TERM") == "dumb"


def _is_file(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.fileno() >= 0
    except io.UnsupportedOperation:
        return False


def _prepare_readline() -> bool:
    """Enable line editing for `input`; return whether it keeps pasted lines together."""
    try:
        readline = importlib.import_module("readline")
    except ImportError:  # not available on every system
        return False
    # On macOS it is libedit, which can't tell pasted text from typed text.
    marks_pastes = not _is_dumb() and "libedit" not in (readline.__doc__ or "")
    if marks_pastes:
        readline.parse_and_bind("set enable-bracketed-paste on")
    return marks_pastes


def _read_plainly(screen: TextIO | None, prompt: str) -> str:
    """Read a line; unlike `input`, write the prompt to `screen`, not to stdout."""
    write(prompt, screen)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")
