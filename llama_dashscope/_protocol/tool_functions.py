"""Typed Python functions as tools: their description for a model, and reading their arguments.

A function's parameters are treated like the fields of a class, so the same code describes and
checks tools and structured answers.
"""

import inspect
import re
from collections.abc import Callable
from inspect import Parameter
from typing import Annotated, Any, Final

from llama_dashscope._errors import InvalidRequestError, ParseError
from llama_dashscope._models import ToolCall
from llama_dashscope._sanitize import sanitize

from .json_schema import SchemaWriter
from .json_text import pick_json
from .mismatches import describe, find_mismatches
from .strict_converter import read_fields
from .type_forms import ObjectField

__all__ = ["read_arguments", "tool_schema"]

Function = Callable[..., object]

SECTION: Final = re.compile(
    r"^(?:[A-Z][a-z]+|参数|返回)[:：]\s*$|^:\w+.*?:|^[A-Z][a-z ]+\n-{3,}\s*$", re.MULTILINE
)
"""The first line of a docstring that no longer describes the function itself."""

GOOGLE: Final = re.compile(r"^(?:Args|Arguments|参数)[:：]\s*\n((?:[ \t]+.*\n?|\n)*)", re.MULTILINE)
GOOGLE_ENTRY: Final = re.compile(
    r"^(\w+)[ ]*(?:\(.*?\))?[:：][ ]*(.*(?:\n[ \t]+.*)*)", re.MULTILINE
)
SPHINX_ENTRY: Final = re.compile(r"^:param (?:.*[ ])?(\w+):[ ]*(.*(?:\n[ \t]+.*)*)", re.MULTILINE)
NUMPY: Final = re.compile(r"^Parameters\n-{3,}[ ]*\n((?:(?!\w[\w ]*\n-{3,}).*\n?)*)", re.MULTILINE)
NUMPY_ENTRY: Final = re.compile(r"^(\w+)[ ]*(?::.*)?\n((?:[ \t]+.*\n?|\n)+)", re.MULTILINE)
"""A parameter's name and description, in the styles of Google, Sphinx and NumPy."""


def tool_schema(function: Function, where: str = "tools") -> dict[str, Any]:
    """Return the service's description of a function as a tool.

    Args:
        function: the function. Its docstring says what it does; the docstring's `Args` section, or
            strings in `Annotated`, describe its parameters.
        where: the name of the argument that the function comes from, for errors.

    Raises:
        InvalidRequestError: a parameter has no type or no name, or its type has no form in JSON.
    """
    name, writer = _name(function, where), SchemaWriter()
    schema = writer.object(_fields(function, where), f"{where}: {name}")
    doc = _description(inspect.getdoc(function) or "")
    described = {"description": doc} if doc else {}
    return {
        "type": "function",
        "function": {"name": name, **described, "parameters": writer.finish(schema)},
    }


def read_arguments(function: Function, call: ToolCall) -> dict[str, Any]:
    """Read the arguments of a tool call as the types of the function's parameters.

    Args:
        function: the function.
        call: a tool call of it, such as one of `Response.tool_calls`.

    Returns:
        The keyword arguments to call it with: `function(**arguments)`.

    Raises:
        ParseError: the arguments don't fit. `paths` names the wrong ones, `partial_text` has the
            JSON text of all, and `str(error)` can be sent to the model as the tool's result.
        InvalidRequestError: the function can't be used as a tool.
    """
    text = call.function.arguments
    fields = _fields(function, "function")
    try:
        return read_fields(pick_json(text or "{}", (dict,)), fields)
    except Exception as error:  # noqa: BLE001  # a class may raise anything
        found = tuple(find_mismatches(error))
    reason = f"the arguments of {_name(function, '')} don't fit: {describe(found)}"
    misfit = ParseError(sanitize(reason))
    misfit.paths = tuple(each.path for each in found)
    misfit.partial_text = text
    raise misfit


def _name(function: Function, where: str) -> str:
    name = getattr(function, "__name__", "")
    if not name or name == "<lambda>":
        raise InvalidRequestError(f"{where}: {type(function).__name__} has no name; use a function")
    return name


def _fields(function: Function, where: str) -> list[ObjectField]:
    """Return a function's parameters as fields."""
    name = _name(function, where)
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, TypeError, ValueError) as error:
        raise InvalidRequestError(f"{where}: {name} can't be read: {error}") from None
    meanings = _meanings(inspect.getdoc(function) or "")
    fields: list[ObjectField] = []
    for each in signature.parameters.values():
        if each.kind not in {Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY}:
            raise InvalidRequestError(
                f"{where}: {name} takes {each}: a tool takes only named arguments"
            )
        if each.annotation is Parameter.empty:
            raise InvalidRequestError(f"{where}: the parameter {each.name} of {name} has no type")
        kind = each.annotation
        if each.name in meanings:
            kind = Annotated[kind, meanings[each.name]]  # behind a description of its own
        fields.append(ObjectField(each.name, kind, each.default is Parameter.empty))
    return fields


def _description(doc: str) -> str:
    """Return the part of a docstring that describes the function itself."""
    found = SECTION.search(doc)
    text = doc[: found.start()] if found else doc
    return "\n\n".join(" ".join(each.split()) for each in text.strip().split("\n\n"))


def _meanings(doc: str) -> dict[str, str]:
    """Return a docstring's description of each parameter."""
    section = GOOGLE.search(doc)
    entries = GOOGLE_ENTRY.findall(inspect.cleandoc(f"\n{section[1]}")) if section else []
    entries += SPHINX_ENTRY.findall(doc)
    entries += NUMPY_ENTRY.findall(found[1]) if (found := NUMPY.search(doc)) else []
    return {name: " ".join(text.split()) for name, text in entries}
