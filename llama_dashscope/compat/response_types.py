"""The types that `Generation` returns: dicts whose keys are also attributes, named as in the SDK.

Like the SDK's, the classes are dataclasses, so pydantic, FastAPI and `dataclasses.fields` work.
"""

import copy
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

from llama_dashscope._protocol.options import Self

__all__ = [
    "TYPES",
    "Choice",
    "DashScopeAPIResponse",
    "DictMixin",
    "GenerationOutput",
    "GenerationResponse",
    "GenerationUsage",
    "Message",
    "Role",
    "with_attributes",
]


class DictMixin(dict[str, Any]):
    """A dict whose keys are attributes as well."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:  # any field
        if name in self and not name.startswith("__"):  # dunder names are Python's own
            return self[name]
        msg = f"{type(self).__name__!r} object has no attribute {name!r}"
        raise AttributeError(msg, name=name, obj=self)

    def __setattr__(self, name: str, value: object) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self:
            msg = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(msg, name=name, obj=self)
        del self[name]

    def copy(self) -> Self:
        """Return a shallow copy of the same class."""
        return copy.copy(self)

    def getattr(self, attr: str) -> Any:  # any field
        """Return a field; None if there is none."""
        return self.get(attr)

    def setattr(self, attr: str, value: object) -> None:
        """Set a field."""
        self[attr] = value


def with_attributes(value: Any) -> Any:  # JSON of any shape
    """Return a JSON value in which every dict, at any depth, is a `DictMixin`."""
    if isinstance(value, dict) and not isinstance(value, DictMixin):
        items = cast("dict[str, object]", value).items()
        return DictMixin({key: with_attributes(item) for key, item in items})
    if isinstance(value, list):
        return [with_attributes(item) for item in cast("list[object]", value)]
    return value


class _NamedDict(DictMixin):
    """A dict that prints as JSON, as in the service's documentation."""

    __slots__ = ()

    def _shown(self) -> dict[str, Any]:
        """Return what is printed."""
        return {**self}

    def __str__(self) -> str:
        return json.dumps(self._shown(), ensure_ascii=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown()!r})"


@dataclass(init=False, eq=False, repr=False)
class Message(_NamedDict):
    """One message of a conversation."""

    role: str
    content: str

    def __init__(self, /, role: str, content: Any = None, **more: Any) -> None:
        super().__init__(role=role, content=content, **_inner(more))

    @classmethod
    def from_generation_response(cls, response: DictMixin) -> "Message | None":
        """Return the message of a response in either result format."""
        output = response["output"]
        if output.get("text") is not None:
            return cls(Role.ASSISTANT, output["text"])
        choices = output.get("choices")
        return choices[0]["message"] if choices else None

    @classmethod
    def from_conversation_response(cls, response: DictMixin) -> "Message | None":
        """Return the same as `from_generation_response`."""
        return cls.from_generation_response(response)


class Role:
    """The roles of a conversation."""

    USER: Final = "user"
    SYSTEM: Final = "system"
    BOT: Final = "bot"
    ASSISTANT: Final = "assistant"
    ATTACHMENT: Final = "attachment"


@dataclass(init=False, eq=False, repr=False)
class Choice(_NamedDict):
    """One of the answers to a request."""

    finish_reason: str
    message: Message

    def __init__(
        self, /, finish_reason: str | None = None, message: Any = None, **more: Any
    ) -> None:
        # Some frames omit the role; whatever the service sends is the assistant's.
        said = Message(**{"role": Role.ASSISTANT, **message}) if message else None
        super().__init__(finish_reason=finish_reason, message=said, **_inner(more))


@dataclass(init=False, eq=False, repr=False)
class GenerationOutput(_NamedDict):
    """The answer in one of two forms: `text` and `finish_reason`, or `choices`."""

    text: str
    choices: list[Choice]
    finish_reason: str

    def __init__(
        self,
        /,
        text: str | None = None,
        finish_reason: str | None = None,
        choices: Any = None,
        **more: Any,
    ) -> None:
        listed = None if choices is None else [Choice(**choice) for choice in choices]
        super().__init__(text=text, finish_reason=finish_reason, choices=listed, **_inner(more))


@dataclass(init=False, eq=False, repr=False)
class GenerationUsage(_NamedDict):
    """Token counts of a call, by which it is billed."""

    input_tokens: int
    output_tokens: int

    def __init__(self, /, input_tokens: int = 0, output_tokens: int = 0, **more: Any) -> None:
        super().__init__(input_tokens=input_tokens, output_tokens=output_tokens, **_inner(more))


@dataclass(init=False, eq=False, repr=False)
class DashScopeAPIResponse(_NamedDict):
    """A response of any of the service's models."""

    status_code: int
    request_id: str
    code: str
    message: str
    output: Any
    usage: Any
    headers: Any

    def __init__(
        self,
        /,
        status_code: int,
        request_id: str = "",
        code: str = "",
        message: str = "",
        output: Any = None,
        usage: Any = None,
        headers: Any = None,
        **more: Any,
    ) -> None:
        super().__init__(
            status_code=status_code,
            request_id=request_id,
            code=code,
            message=message,
            output=output,
            usage=usage,
            headers=headers,
            **_inner(more),
        )

    def _shown(self) -> dict[str, Any]:
        return {name: self.get(name) for name in SHOWN}


SHOWN: Final = ("status_code", "request_id", "code", "message", "output", "usage")
"""The fields of a response that are printed, in their order."""


@dataclass(init=False, eq=False, repr=False)
class GenerationResponse(DashScopeAPIResponse):
    """A response of a text model; its output is None if the service returned an error."""

    output: GenerationOutput
    usage: GenerationUsage

    @classmethod
    def from_api_response(cls, api_response: DashScopeAPIResponse) -> Self:
        """Return a response of any model as one of a text model."""
        fields = dict(api_response)
        if api_response.status_code == HTTPStatus.OK:
            fields["output"] = GenerationOutput(**api_response.output)
            usage: dict[str, Any] = api_response.usage or {}
            fields["usage"] = GenerationUsage(**usage)
        else:
            fields["output"] = fields["usage"] = None
        return cls(**fields)


TYPES: Final = (
    Choice,
    DashScopeAPIResponse,
    DictMixin,
    GenerationOutput,
    GenerationResponse,
    GenerationUsage,
    Message,
    Role,
)
"""The classes that the official SDK has too."""


def _inner(more: dict[str, Any]) -> dict[str, Any]:
    """Convert unknown fields by `with_attributes`."""
    return {key: with_attributes(item) for key, item in more.items()} if more else more
