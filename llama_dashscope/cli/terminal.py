"""How the command talks: to terminals and pipes, in words that say what to do."""

import io
import os
import sys
from contextlib import suppress
from typing import Final, TextIO

from llama_dashscope import (
    APIConnectionError,
    APITimeoutError,
    ContentFilterError,
    DashScopeError,
    IncompleteResponseError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExhaustedError,
    RateLimitError,
    ResponseError,
    ServiceUnavailableError,
)

__all__ = [
    "PROGRAM",
    "check_stdout",
    "discard_output",
    "is_terminal",
    "print_error",
    "print_status",
    "replace_unencodable",
    "write",
]

PROGRAM: Final = "llama-dashscope"

ADVICE: Final[dict[type, str]] = {
    APIConnectionError: "check the network, the proxy and --base-url",
    APITimeoutError: "ask again, or allow more time with --timeout",
    ContentFilterError: "rephrase it",
    IncompleteResponseError: "ask again",
    InternalServerError: "ask again in a while",
    NotFoundError: f"check --base-url and the model; `{PROGRAM} models` lists those that are known",
    PermissionDeniedError: "apply for the model in Model Studio, or try another --workspace",
    QuotaExhaustedError: "check your quota and bills in Model Studio",
    RateLimitError: "wait a little and ask again",
    ResponseError: "is --base-url the address of DashScope, /api/v1 included?",
    ServiceUnavailableError: "ask again in a while",
}
"""What to do about an error that brings no hint of its own; a class speaks for those under it."""

# A model's words are no commands to a terminal: control characters don't get through, or an
# answer could hide text, rename windows or write to the clipboard.
CONTROLS: Final = dict.fromkeys((*range(32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}") | {
    ord("\t"): "\t",
    ord("\n"): "\n",
    ord("\r"): "",
}


def check_stdout() -> None:
    """See that an answer has a place to go before anything is asked.

    Raises:
        OSError: whoever started this closed stdout.
    """
    if sys.stdout is None:
        raise OSError("stdout is closed: there is no place for the answer")


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a person is at the other end; a closed stream has none."""
    return stream is not None and stream.isatty()


def replace_unencodable(stream: TextIO | None) -> None:
    """Let a character that a stream's encoding doesn't have become a question mark."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")


def write(text: str, stream: TextIO | None) -> None:
    """Write at once what may be the words of others; to nowhere if the stream is closed."""
    if stream is not None:
        stream.write(text.translate(CONTROLS) if stream.isatty() else text)
        stream.flush()


def print_status(words: str) -> None:
    """Put one line on stderr."""
    write(f"{PROGRAM}: {' '.join(words.split())}\n", sys.stderr)


def discard_output() -> None:
    """Point stdout and stderr at nothing, or the interpreter's last flush fails as well."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or no file at all
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def print_error(error: Exception) -> None:
    """Put an error on stderr, with what to do about it."""
    advice = ""
    if isinstance(error, DashScopeError) and not error.hint:
        advice = next((ADVICE[kind] for kind in type(error).__mro__ if kind in ADVICE), "")
    print_status(f"error: {error}{'; ' if advice else ''}{advice}")
