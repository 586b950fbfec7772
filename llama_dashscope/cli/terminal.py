"""The command's output to terminals and pipes, and its error messages."""

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
"""What to do about an error without a hint of its own; an entry applies to subclasses too."""

# Control characters in an answer are replaced: they could hide text, rename windows or write to the
# clipboard.
CONTROLS: Final = dict.fromkeys((*range(32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}") | {
    ord("\t"): "\t",
    ord("\n"): "\n",
    ord("\r"): "",
}


def check_stdout() -> None:
    """Check that stdout is open, before anything is asked.

    Raises:
        OSError: stdout is closed.
    """
    if sys.stdout is None:
        raise OSError("stdout is closed: the answer can't be printed")


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a stream is a terminal; a closed stream is not."""
    return stream is not None and stream.isatty()


def replace_unencodable(stream: TextIO | None) -> None:
    """Make a stream replace characters that its encoding lacks by question marks."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")


def write(text: str, stream: TextIO | None) -> None:
    """Write text and flush; on a terminal without control characters. Ignore a closed stream."""
    if stream is not None:
        stream.write(text.translate(CONTROLS) if stream.isatty() else text)
        stream.flush()


def print_status(words: str) -> None:
    """Print one line on stderr."""
    write(f"{PROGRAM}: {' '.join(words.split())}\n", sys.stderr)


def discard_output() -> None:
    """Redirect stdout and stderr to the null device, so that the flush at exit does not fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or not a file
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def print_error(error: Exception) -> None:
    """Print an error on stderr, with advice."""
    advice = ""
    if isinstance(error, DashScopeError) and not error.hint:
        advice = next((ADVICE[kind] for kind in type(error).__mro__ if kind in ADVICE), "")
    text = str(error)
    if isinstance(error, OSError):
        text = text.removeprefix(f"[Errno {error.errno}] ")
    print_status(f"error: {text}{'; ' if advice else ''}{advice}")
