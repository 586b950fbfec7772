"""The command `llama-dashscope`: chat, run a batch, list models, serve a local DashScope."""

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from functools import partial
from typing import Final, NoReturn, TypedDict

from llama_dashscope import ConfigurationError, DashScopeError, InvalidRequestError, __version__

from .batch import ABOUT_BATCH, add_arguments, batch
from .chat import LEAVE, chat
from .exit_codes import EXIT_CODES, FAILED, INTERRUPTED, MISUSED, OK
from .models import ABOUT_MODELS, list_models
from .reach import add_connection_options
from .terminal import PROGRAM, discard_output, print_error, replace_unencodable, write

__all__ = ["main"]

ABOUT_CHAT: Final = f"""\
Ask a question and see the answer as it is generated.

Piped text is the question, or is appended to PROMPT after an empty line.
Without either, on a terminal, chat holds a conversation: Ctrl-C stops an
answer, {LEAVE} leaves.

The key comes from DASHSCOPE_API_KEY, from the file that
DASHSCOPE_API_KEY_FILE_PATH names, or from ~/.dashscope/api_key.
"""

DEFAULT_MODEL: Final = "llama3.3-70b-instruct"
DEFAULT_SYSTEM: Final = "You are a helpful assistant."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; `llama-dashscope --help` lists the codes.

    Args:
        argv: the arguments; by default those of this process.
    """
    for stream in (sys.stdout, sys.stderr):
        replace_unencodable(stream)
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        discard_output()
        return OK
    except OSError as error:
        print_error(error)
        if error.filename is None:  # perhaps the output could not be written
            discard_output()
        return FAILED


def _run(argv: Sequence[str]) -> int:
    """Run the command; an error becomes one line on stderr and an exit code."""
    try:
        args = _parse(argv)
        return int(args.run(args))
    except SystemExit as end:  # argparse has already printed its message
        write("", sys.stdout)
        return int(end.code or OK)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ConfigurationError, InvalidRequestError) as error:
        print_error(error)
        return MISUSED
    except DashScopeError as error:
        print_error(error)
        return FAILED


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print the error and how to get help, in one line, and exit."""
        self.exit(MISUSED, f"{self.prog}: error: {message}; see '{self.prog} --help'\n")


class _ParserSettings(TypedDict):
    formatter_class: type[argparse.HelpFormatter]
    allow_abbrev: bool


_PARSER_SETTINGS: Final = _ParserSettings(
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,  # otherwise a new option could change the meaning of an abbreviation
)
_Command = Callable[..., argparse.ArgumentParser]


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    # Python 3.10's argparse fails if it must write to a closed stderr.
    with redirect_stderr(sys.stderr or io.StringIO()):
        args, rest = _parser(serving="serve" in argv).parse_known_args(argv)
        if rest:
            quotes = (
                "" if rest[0].startswith("-") else " (a question of several words needs quotes)"
            )
            args.parser.error(f"unrecognized arguments: {' '.join(rest)}{quotes}")
    return args


def _parser(*, serving: bool) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Ask the Llama models of DashScope (Model Studio).",
        epilog=EXIT_CODES,
        **_PARSER_SETTINGS,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(metavar="{chat,batch,models,serve}", required=True)
    command = partial(commands.add_parser, **_PARSER_SETTINGS)
    _add_chat(command)
    _add_batch(command)
    _add_models(command)
    _add_serve(command, in_full=serving)
    return parser


def _add_chat(command: _Command) -> None:
    parser = command(
        "chat",
        help="ask a question or hold a conversation",
        description=ABOUT_CHAT,
        epilog=EXIT_CODES,
    )
    parser.set_defaults(run=chat, parser=parser)
    add, default = parser.add_argument, "(default: %(default)s)"
    add("prompt", nargs="?", metavar="PROMPT", help="the question, in quotes")
    add("--model", metavar="NAME", default=DEFAULT_MODEL, help=f"the model to ask {default}")
    told = f"the system message, '' for none {default}"
    add("--system", metavar="TEXT", default=DEFAULT_SYSTEM, help=told)
    add("--temperature", metavar="NUMBER", type=float, help="sampling temperature, 0 to below 2")
    add("--max-tokens", metavar="COUNT", type=int, help="maximum length of the answer, in tokens")
    add("--no-stream", action="store_true", help="print the answer once it is complete")
    add("--json", action="store_true", help="print the complete response as one line of JSON")
    add_connection_options(parser)


def _add_batch(command: _Command) -> None:
    parser = command(
        "batch",
        help="ask all questions in a file; resume an interrupted run",
        description=ABOUT_BATCH,
        epilog=EXIT_CODES,
    )
    parser.set_defaults(run=batch, parser=parser)
    add_arguments(parser, DEFAULT_MODEL)
    add_connection_options(parser)


def _add_models(command: _Command) -> None:
    parser = command(
        "models",
        help="list the Llama models and what is known about them",
        description=f"List the Llama models and what is documented about them.\n\n{ABOUT_MODELS}",
    )
    parser.set_defaults(run=list_models, parser=parser)
    parser.add_argument("--json", action="store_true", help="print them as JSON")


def _add_serve(command: _Command, *, in_full: bool) -> None:
    """Add `serve`; its options only if it is the command, since the server is slow to import."""
    parser = command("serve", help="run a DashScope server on this machine, for tests and demos")
    if in_full:
        from llama_dashscope.cli import serve  # see above

        parser.description, parser.epilog = serve.ABOUT, EXIT_CODES
        parser.set_defaults(run=serve.run, parser=parser)
        serve.add_arguments(parser)
