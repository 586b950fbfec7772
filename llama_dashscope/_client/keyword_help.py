"""Help for `**options`: a function's signature and docstring list each keyword and its meaning."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import cache
from inspect import Parameter
from itertools import pairwise
from typing import Any, Final, TypeVar

from llama_dashscope._protocol import options as options_module

__all__ = ["field_docs", "shows_keywords"]

F = TypeVar("F", bound=Callable[..., Any])

PLACEHOLDER: Final = "    **options: "
"""The beginning of the docstring's line that the keywords replace."""


def shows_keywords(options: type) -> Callable[[F], F]:
    """Return a decorator for a function that takes `**options: Unpack[options]`.

    `inspect.signature` and `help` then show the fields of `options`, with their docstrings, as the
    function's own keywords.

    Args:
        options: a TypedDict of `_protocol/options.py`.
    """

    def show(function: F) -> F:
        shown: Any = function
        signature = inspect.signature(function)
        own = [each for each in signature.parameters.values() if each.kind != Parameter.VAR_KEYWORD]
        named = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for name, kind in options.__annotations__.items()
        ]
        shown.__signature__ = signature.replace(parameters=[*own, *named])
        # Python 3.13 strips the indentation of docstrings; `cleandoc` does it on older versions.
        shown.__doc__ = _documented(inspect.cleandoc(function.__doc__ or ""), options)
        return function

    return show


def _documented(text: str, options: type) -> str:
    """Replace the line of `**options` in a docstring with the meaning of each keyword."""
    meanings = field_docs()
    entries = [f"{name}: {meanings[name]}" for name in options.__annotations__ if name in meanings]
    lines = [_wrapped(entry) for entry in entries]
    return "\n".join(
        line
        for each in text.split("\n")
        for line in (lines if lines and each.startswith(PLACEHOLDER) else [each])
    )


def _wrapped(entry: str) -> str:
    return textwrap.fill(
        " ".join(entry.split()),
        width=92,
        initial_indent=" " * 4,
        subsequent_indent=" " * 8,
        break_long_words=False,
        break_on_hyphens=False,
    )


@cache
def field_docs() -> dict[str, str]:
    """Read the docstrings of option fields from the source, since Python discards them.

    Without the source there are none, and `help` only names the class.
    """
    try:
        tree = ast.parse(inspect.getsource(options_module))
    except OSError:
        return {}
    found: dict[str, str] = {}
    for body in (node.body for node in tree.body if isinstance(node, ast.ClassDef)):
        for field, below in pairwise(body):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[name] = text
                case _:
                    pass
    return found
