"""`llama-dashscope serve`: runs the local DashScope from a shell."""

import argparse
import gc
import json
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from llama_dashscope.testing._http_server import status_page
from llama_dashscope.testing._http_server.allowed_hosts import is_loopback
from llama_dashscope.testing._local_dashscope import LocalDashScope
from llama_dashscope.testing._service.account_limits import AccountLimits
from llama_dashscope.testing._service.exchange import Exchange
from llama_dashscope.testing._service.fault_parser import KINDS, parse_faults
from llama_dashscope.testing._upstream.upstream import Upstream

from .argument_types import above_zero, address, zero_or_more

DEFAULT_PORT = 8844

ABOUT = f"""\
Run a DashScope server on this machine: the service's HTTP protocol, answers and
errors on loopback, without a real key and without cost. Open its address in a
browser to see the requests.

FAULTS is a list of faults, separated by commas:
  rate-limited*2                     the first two calls
  cut-stream(after=3, how=rst)       every call
  5%                                 one call in twenty, in a random way
  5% rate-limited, drop(how=fin)     one in twenty, in one of these ways
Faults:
{textwrap.fill(", ".join(sorted(KINDS)), 78, initial_indent="  ", subsequent_indent="  ")}
"""


_EXPOSED = """\
warning: this is not a loopback address. Anyone who can reach it over the network can
read all requests on its page, and make calls with the key.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `run` to a parser."""
    parser.set_defaults(parser=parser)
    add, default = parser.add_argument, "(default: %(default)s)"
    add("--host", default="127.0.0.1", metavar="ADDRESS", help=f"address to listen on {default}")
    other = "another name under which clients reach this server; may be given more than once"
    add("--allow-host", action="append", default=[], metavar="NAME", help=other)
    add("--port", type=int, default=DEFAULT_PORT, help=f"0 for any free port {default}")
    add("--api-key", default="sk-local", metavar="KEY", help=f"the key that it accepts {default}")
    add("--any-model", action="store_true", help="accept any model name, not only those of Llama")
    answers = parser.add_mutually_exclusive_group()
    answers.add_argument("--reply", metavar="TEXT", help="answer every call with this text")
    theirs = "get the answers from a server that speaks OpenAI's chat API"
    answers.add_argument("--upstream", metavar="URL", type=address, help=theirs)
    named = "the model name to send to it (default: the requested one)"
    add("--upstream-model", metavar="NAME", help=named)
    add("--upstream-key-env", metavar="VAR", help="the environment variable that has its key")
    speed = "speed of the answers (default: unlimited)"
    add("--tokens-per-second", type=above_zero, metavar="N", help=speed)
    delay = "wait before each answer (default: 0)"
    add("--first-token-delay", type=zero_or_more, metavar="SECONDS", help=delay)
    add("--faults", type=_faults, default="", metavar="FAULTS", help="the faults, see above")
    rpm = "limit the requests per minute to each model, as the service does"
    add("--rpm", type=above_zero, metavar="N", help=rpm)
    add("--tpm", type=above_zero, metavar="N", help="limit the tokens per minute to each model")
    add("--seed", type=int, metavar="N", help="make random faults repeatable")
    add("--log", type=Path, metavar="FILE", help="append a line of JSON for every request")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM, and return the exit code.

    Raises:
        ConfigurationError: the port, the key or a host name is invalid.
        OSError: the port is taken, or the log can't be written.
    """
    _refuse_contradictions(args)
    with ExitStack() as stack:
        log = (
            stack.enter_context(args.log.open("a", encoding="utf-8", errors="backslashreplace"))
            if args.log
            else None
        )
        server = _server(args, _request_logger(log))
        stop = stack.enter_context(_signals())
        stack.enter_context(server)
        gc.freeze()  # so that collections don't scan all imported modules, which delays frames
        _say(_welcome(server))
        if not is_loopback(args.host):
            print(_EXPOSED, file=sys.stderr, end="", flush=True)
        while not stop.is_set():
            stop.wait(1.0)  # on Windows, Ctrl-C doesn't interrupt an endless wait
    return 0


def _refuse_contradictions(args: argparse.Namespace) -> None:
    """Exit with an error if one option makes another one useless."""
    if args.upstream:
        given = {
            "--tokens-per-second": args.tokens_per_second,
            "--first-token-delay": args.first_token_delay,
        }
        reason = "not allowed with argument --upstream, whose server sets the speed"
    else:
        given = {
            "--upstream-model": args.upstream_model,
            "--upstream-key-env": args.upstream_key_env,
        }
        reason = "only allowed with argument --upstream"
    for option, value in given.items():
        if value is not None:
            args.parser.error(f"argument {option}: {reason}")


def _server(args: argparse.Namespace, on_end: Callable[[Exchange], None]) -> LocalDashScope:
    server = LocalDashScope(
        host=args.host,
        port=args.port,
        allowed_hosts=args.allow_host,
        api_key=args.api_key,
        models=None if args.any_model or args.upstream else (),
        tokens_per_second=args.tokens_per_second,
        first_token_delay=args.first_token_delay or 0.0,
        keep=1000,
        on_end=on_end,
    )
    if args.upstream:
        server.reply(_upstream(args))
    if args.reply is not None:
        server.reply(args.reply)
    if args.rpm or args.tpm:
        server.fault(AccountLimits(args.rpm, args.tpm), times=None)
    for order in parse_faults(args.faults, args.seed):
        server.fault(order.fault, times=order.times)
    return server


def _upstream(args: argparse.Namespace) -> Upstream:
    key = os.environ.get(args.upstream_key_env) if args.upstream_key_env else None
    if args.upstream_key_env and not key:
        args.parser.error(f"{args.upstream_key_env} is not set; --upstream-key-env names it")
    return Upstream(args.upstream, model=args.upstream_model, api_key=key)


def _request_logger(log: TextIO | None) -> Callable[[Exchange], None]:
    """Return a function that prints each request in a line, and logs all of it but the key."""

    def log_request(exchange: Exchange) -> None:
        _say(str(exchange))
        if log:
            line = {**status_page.describe(exchange), "body": exchange.request.json}
            log.write(json.dumps(line, ensure_ascii=False) + "\n")
            log.flush()

    return log_request


def _say(text: str) -> None:
    print(text, flush=True)


def _welcome(server: LocalDashScope) -> str:
    exports = (f"  export {name}={value}" for name, value in server.environ.items())
    where = f"DashScope on this machine; open {server.origin} in a browser to see the requests."
    return "\n".join([where, *exports, "Press Ctrl-C to stop."])


@contextmanager
def _signals() -> Generator[threading.Event, None, None]:
    """Return an event that Ctrl-C and SIGTERM set, within the `with` block."""
    stop = threading.Event()
    wanted = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(each, lambda _number, _frame: stop.set()) for each in wanted]
    try:
        yield stop
    finally:
        for each, handler in zip(wanted, before, strict=True):
            signal.signal(each, handler)


def _faults(text: str) -> str:
    try:
        parse_faults(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text
