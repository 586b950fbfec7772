"""Shared by the models for other frameworks: making the client, call options, tool choice."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from llama_dashscope import Client, Options

__all__ = ["call_options", "make_client", "tool_choice"]

NAMED: Final = frozenset(Options.__annotations__) - {"messages"}
"""Options that a call takes by name; others go into its `parameters`."""


class _Secret(Protocol):
    def get_secret_value(self) -> str: ...


class _ClientFields(Protocol):
    """The fields of a model that configure its client."""

    @property
    def api_key(self) -> _Secret | None: ...
    @property
    def base_url(self) -> str | None: ...
    @property
    def workspace(self) -> str | None: ...
    @property
    def max_retries(self) -> int | None: ...


def make_client(settings: _ClientFields) -> Client:
    """Make the client of a model that was constructed without one."""
    return Client(
        settings.api_key.get_secret_value() if settings.api_key else None,
        base_url=settings.base_url,
        workspace=settings.workspace,
        retry=settings.max_retries,
    )


def call_options(
    parameters: Mapping[str, Any] | None, *layers: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options of a call; options that it doesn't take by name go into `parameters`.

    Args:
        parameters: default entries of the request's `parameters`.
        *layers: options; a later layer overrides an earlier one.
    """
    options: dict[str, Any] = {}
    rest = dict(parameters or {})
    for layer in layers:
        options |= {name: value for name, value in layer.items() if name in NAMED}
        rest |= layer.get("parameters") or {}
        rest |= {name: value for name, value in layer.items() if name not in NAMED}
    return {**options, "parameters": rest}


def tool_choice(names: Sequence[str], given: object) -> object:
    """Return the service's `tool_choice`; None if `given` is empty.

    Args:
        names: the names of the tools in the request.
        given: `auto`, `none`, a tool's name, or the service's dict. `any`, `required` and True
            force a call: of the tool by name if there is only one, otherwise by `required`.
    """
    if given in ("any", "required", True):
        given = names[0] if len(names) == 1 else "required"
    if isinstance(given, str) and given in names:
        return {"type": "function", "function": {"name": given}}
    return given or None
