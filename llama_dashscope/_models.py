"""Models of requests and responses, as frozen values.

Every model is a `Record`: it has attributes for people and type checkers, the reading methods of a
mapping for code that was written against dictionaries, and `extra` for fields unknown to this
version.
"""

import json
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    ValuesView,
)
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

__all__ = [
    "Choice",
    "Chunk",
    "Function",
    "GrowingText",
    "LazyText",
    "Message",
    "Output",
    "Record",
    "Response",
    "ToolCall",
    "Usage",
    "to_json",
]

OMIT_NONE: Final = {"omit_none": True}
"""Metadata of a field that is left out of the JSON if it is None."""


class Record:
    """Base class of all models: output as JSON, and the reading methods of a mapping."""

    __slots__ = ()

    extra: Mapping[str, Any]

    # Unknown fields are attributes too, but hidden from type checkers, so that these report typos.
    if not TYPE_CHECKING:  # pragma: no branch  # always so when the program runs

        def __getattr__(self, name: str) -> object:
            if not name.startswith("_") and name != "extra" and name in self.extra:
                return self.extra[name]
            msg = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(msg, name=name, obj=self)

    def _items(self) -> Iterator[tuple[str, Any]]:
        fields = _FIELDS.get(type(self)) or _shown(type(self))
        for name, omit_none in fields.items():
            value = getattr(self, name)
            if value is not None or not omit_none:
                yield name, value
        for name, value in self.extra.items():
            if name not in fields:
                yield name, value

    def to_dict(self) -> dict[str, Any]:
        """Return a dict for JSON: declared fields in the service's order, then unknown ones."""
        return {key: _plain(value) for key, value in self._items()}

    def keys(self) -> KeysView[str]:
        """Return the keys of `to_dict()`."""
        return dict(self._items()).keys()

    def values(self) -> ValuesView[Any]:
        """Return the values; nested models stay models."""
        return dict(self._items()).values()

    def items(self) -> ItemsView[str, Any]:
        """Return pairs of key and value; nested models stay models."""
        return dict(self._items()).items()

    def get(self, key: str, default: object = None) -> Any:  # any field
        """Return the value of a field, or `default` if there is none."""
        return dict(self._items()).get(key, default)

    def __getitem__(self, key: str) -> Any:  # any field
        return dict(self._items())[key]

    def __contains__(self, key: object) -> bool:
        return key in dict(self._items())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return to_json(self.to_dict())


def to_json(value: object, separators: tuple[str, str] | None = None) -> str:
    """Return a value as JSON; NaN and infinity, which JSON doesn't have, become null."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=separators)
    except ValueError:
        finite = json.loads(json.dumps(value), parse_constant=lambda _: None)
        return json.dumps(finite, ensure_ascii=False, separators=separators)


_FIELDS: Final[dict[type, dict[str, bool]]] = {}


def _shown(model: type[Any]) -> dict[str, bool]:
    """Return the fields of `model` that its JSON has, and whether each is left out if None."""
    _FIELDS[model] = shown = {
        field.alias or field.name: field.metadata.get("omit_none", False)
        for field in attrs.fields(model)
        if field.name != "extra"
    }
    return shown


def _plain(value: object) -> object:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[object, ...]", value)]
    return value


_nothing: Final = cast("Callable[[], dict[str, Any]]", dict)
"""Makes an empty dict; six times faster than calling `dict[str, Any]` as a factory."""


def _calls(calls: "Iterable[ToolCall] | None") -> "tuple[ToolCall, ...] | None":
    return None if calls is None else tuple(calls) or None


@attrs.frozen
class Function(Record):
    """The function of a tool call."""

    name: str = ""
    """Name of the function."""
    arguments: str = ""
    """Arguments as the model wrote them: JSON text, which may be invalid."""
    extra: Mapping[str, Any] = attrs.field(factory=_nothing, kw_only=True, hash=False)
    """Fields from the service that this version does not know, as received."""


@attrs.frozen
class ToolCall(Record):
    """A tool call that the model asks for."""

    function: Function = attrs.field(factory=Function)
    """The function and its arguments."""
    index: int | None = attrs.field(default=None, metadata=OMIT_NONE)
    """Position among the tool calls of one answer; the pieces of a stream are merged by it."""
    id: str = ""
    """Identifier of the call; the tool's result repeats it as `tool_call_id`."""
    type: str = "function"
    """Kind of the tool."""
    extra: Mapping[str, Any] = attrs.field(factory=_nothing, kw_only=True, hash=False)
    """Fields from the service that this version does not know, as received."""


@attrs.frozen
class Message(Record):
    """One message of a conversation."""

    role: str
    """`system`, `user` or `assistant`; `tool` for the result of a tool call."""
    content: str = attrs.field(default=cast("str", None))
    """The text of the message; only a message with tool calls may omit it."""
    tool_calls: tuple[ToolCall, ...] | None = attrs.field(
        default=None, converter=_calls, metadata=OMIT_NONE
    )
    """Tool calls that the assistant asks for."""
    tool_call_id: str | None = attrs.field(default=None, metadata=OMIT_NONE)
    """The `id` of the tool call whose result this message (role `tool`) is."""
    name: str | None = attrs.field(default=None, metadata=OMIT_NONE)
    """Name of the tool or speaker."""
    extra: Mapping[str, Any] = attrs.field(factory=_nothing, kw_only=True, hash=False)
    """Fields from the service that this version does not know, as received."""

    def __attrs_post_init__(self) -> None:
        content = cast("str | None", self.content)
        if content is None:
            if not self.tool_calls:
                msg = (
                    "Message takes a role and a content, as in Message('user', 'hi');"
                    f" got the role {self.role!r} alone"
                )
                raise TypeError(msg)
            object.__setattr__(self, "content", "")


@attrs.frozen
class Choice(Record):
    """One of the answers to a request, in the `message` result format."""

    finish_reason: str | None = None
    """Why the answer ended: `stop`, `length`, `tool_calls`; None while it is being streamed."""
    message: Message = attrs.field(factory=lambda: Message("assistant", ""))
    """The answer."""
    index: int | None = attrs.field(default=None, metadata=OMIT_NONE)
    """Position among several answers (`n` above 1)."""
    extra: Mapping[str, Any] = attrs.field(factory=_nothing, kw_only=True, hash=False)
    """Fields from the service that this version does not know, as received."""


@attrs.frozen
class Output(Record):
    """The answer in one of two forms: `text` and `finish_reason`, or `choices`."""

    text: str | None = None
    """The reply, in the `text` result format."""
    finish_reason: str | None = None
    """Why the reply ended, in the `text` result format."""
    choices: tuple[Choice, ...] | None = None
    """The replies, in the `message` result format."""
    extra: Mapping[str, Any] = attrs.field(factory=_nothing, kw_only=True, hash=False)
    """Fields from the service that this version does not know, as received."""


@attrs.frozen
class Usage(Record):
    """Token counts of a call, by which it is billed."""

    input_tokens: int = 0
    """Tokens of the input."""
    output_tokens: int = 0
    """Tokens of the answer."""
    total_tokens: int = attrs.Factory(
        lambda self: self.input_tokens + self.output_tokens, takes_self=True
    )
    """Sum of both; computed here if the service omits it, as it may for Llama 2."""
    extra: Mapping[str, Any] = attrs.field(factory=_nothing, kw_only=True, hash=False)
    """Fields from the service that this version does not know, as received."""


@attrs.frozen
class Response(Record):
    """A complete answer, with the same fields in the same order as in the service's own SDK."""

    status_code: int = 200
    """HTTP status."""
    request_id: str = ""
    """The service's id of this request, which its support asks for."""
    code: str = ""
    """Error code; empty if the call succeeded."""
    message: str = ""
    """Error text; empty if the call succeeded."""
    output: Output = attrs.field(factory=Output)
    """The answer."""
    usage: Usage | None = None
    """Token counts; None if the service reported none."""
    extra: Mapping[str, Any] = attrs.field(factory=_nothing, kw_only=True, hash=False)
    """Fields from the service that this version does not know, as received."""

    @property
    def text(self) -> str:
        """The reply in either result format; empty if the answer is only tool calls."""
        output = self._said
        if output.choices and not output.text:
            return output.choices[0].message.content
        return output.text or ""

    @property
    def finish_reason(self) -> str | None:
        """Why the reply ended, in either result format."""
        output = self._said
        if output.choices and output.finish_reason is None:
            return output.choices[0].finish_reason
        return output.finish_reason

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls that the first choice asks for."""
        choices = self._said.choices
        return (choices[0].message.tool_calls or ()) if choices else ()

    @property
    def _said(self) -> Output:
        # An error that `Generation` returns as a response has None for its output.
        return self.output or Output()


class GrowingText:
    """A text that is still being streamed; its pieces are joined only when it is read."""

    __slots__ = ("_joined", "_pieces", "length")

    def __init__(self) -> None:
        """Start with no text."""
        self._pieces: list[str] = []
        # Number of joined pieces and their text: one tuple, since two threads may read a stream.
        self._joined: tuple[int, str] = 0, ""
        self.length: int = 0
        """Characters so far."""

    def append(self, piece: str) -> None:
        """Add a piece at the end."""
        self._pieces.append(piece)
        self.length += len(piece)

    def __str__(self) -> str:
        known, text = self._joined
        if new := self._pieces[known:]:
            text = "".join((text, *new))
            self._joined = known + len(new), text
        return text


class LazyText:
    """The text of a chunk: the beginning of a `GrowingText`, as long as it was at that time.

    All chunks of a stream share one text, so memory grows with the stream's length, not with its
    square.
    """

    __slots__ = ("_length", "_whole")

    def __init__(self, whole: GrowingText) -> None:
        """Take the text that `whole` has now."""
        self._whole = whole
        self._length = whole.length

    def __str__(self) -> str:
        return str(self._whole)[: self._length]

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


@attrs.frozen(repr=False)
class Chunk(Record):
    """One step of a stream: the new text, and the answer so far."""

    delta: str = ""
    """New text, whether the service sends pieces or repeats the whole text each time."""
    _text: str | LazyText = attrs.field(default="", eq=str)
    finish_reason: str | None = None
    """Why the answer ended; None before the end."""
    usage: Usage | None = None
    """Tokens counted so far."""
    request_id: str = ""
    """The service's id of this request, the same in every chunk."""
    index: int = 0
    """Which of several answers (`n` above 1) this chunk continues."""
    tool_calls: tuple[ToolCall, ...] | None = attrs.field(
        default=None, converter=_calls, metadata=OMIT_NONE
    )
    """Pieces of tool calls in this frame, as received; `Response.tool_calls` has whole calls."""
    extra: Mapping[str, Any] = attrs.field(factory=_nothing, kw_only=True, hash=False)
    """Fields of the frame, at any depth, that this version does not know."""

    @property
    def text(self) -> str:
        """The text of this answer so far; joined when it is read."""
        return str(self._text)

    def __repr__(self) -> str:
        shown = [f"{key}={value!r}" for key, value in self.items() if value or key == "delta"]
        return f"Chunk({', '.join(shown)})"
