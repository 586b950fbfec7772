"""What the models for other frameworks share: options of a call, and which tool is called."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llama_dashscope import Options

__all__ = ["call_options", "tool_choice"]

NAMED: Final = frozenset(Options.__annotations__) - {"messages"}
"""Options that a call has by name; others go into its `parameters`."""


def call_options(
    parameters: Mapping[str, Any] | None, *layers: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options of a call; what it has no name for is in its `parameters`, as given.

    Args:
        parameters: what goes into the request's `parameters` if no layer says otherwise.
        *layers: options, the later ones before the earlier ones.
    """
    options: dict[str, Any] = {}
    rest = dict(parameters or {})
    for layer in layers:
        options |= {name: value for name, value in layer.items() if name in NAMED}
        rest |= layer.get("parameters") or {}
        rest |= {name: value for name, value in layer.items() if name not in NAMED}
    return {**options, "parameters": rest}


def tool_choice(names: Sequence[str], given: object) -> object:
    """Return which tool to call in the service's terms; None where `given` says nothing.

    Args:
        names: the tools that are offered.
        given: `auto`, `none`, a tool's name, the service's dict; `any`, `required` or True to have
            one called: with one tool that is this tool, with several it is sent as `required`.
    """
    if given in ("any", "required", True):
        given = names[0] if len(names) == 1 else "required"
    if isinstance(given, str) and given in names:
        return {"type": "function", "function": {"name": given}}
    return given or None
