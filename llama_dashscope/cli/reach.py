"""Opens the client of a command: for the service, or for a local DashScope."""

import argparse
import os
import warnings
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

from llama_dashscope import Client, ConfigurationError, Pacer
from llama_dashscope._environment import find_api_key

from .argument_types import above_zero
from .terminal import print_status

__all__ = ["add_connection_options", "reach"]


def add_connection_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for address, workspace and timeout to a command."""
    add = parser.add_argument
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--base-url",
        metavar="URL",
        help="the service's address with /api/v1 (default: DASHSCOPE_HTTP_BASE_URL, or Beijing)",
    )
    where.add_argument(
        "--local",
        action="store_true",
        help="ask a local server, which needs no key and gives canned answers",
    )
    add("--workspace", metavar="ID", help="the workspace; keys of sub-accounts need one")
    limits = "longest wait without data (default: 300 before an answer, 120 within it)"
    add("--timeout", metavar="SECONDS", type=above_zero, help=limits)


@contextmanager
def reach(
    args: argparse.Namespace, *, tokens_per_second: float | None = None, pace: Pacer | None = None
) -> Generator[Client]:
    """Open a client; for --local also the server that it asks.

    Args:
        args: the command line.
        tokens_per_second: speed of the --local server; None for as fast as possible.
        pace: the client's pace.

    Raises:
        ConfigurationError: there is no key, or an option is invalid.
    """
    with ExitStack() as stack:
        key, base_url = None, args.base_url
        if args.local:
            from llama_dashscope.testing import LocalDashScope  # slow to import

            server = stack.enter_context(LocalDashScope(tokens_per_second=tokens_per_second))
            key, base_url = server.api_key, server.base_url
        elif find_api_key(None, os.environ) is None:
            raise ConfigurationError(
                "no key was found; set DASHSCOPE_API_KEY, or put the key into the file"
                " ~/.dashscope/api_key, or try --local, which needs none"
            )
        yield stack.enter_context(_client(key, base_url, args, pace))


def _client(
    key: str | None, base_url: str | None, args: argparse.Namespace, pace: Pacer | None
) -> Client:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        client = Client(
            key,
            base_url=base_url,
            workspace=args.workspace,
            timeout=args.timeout,
            pace=pace,
            trust_env=not args.local,  # a proxy can't reach this machine's loopback
        )
    for warning in caught:
        print_status(f"warning: {warning.message}")
    return client
