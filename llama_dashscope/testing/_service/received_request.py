"""A request that the server received, parsed for assertions in tests."""

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, cast

from attrs import field, frozen

GENERATION = "/services/aigc/text-generation/generation"
_LONGEST_SHOWN = 120  # characters
_LONGEST_EXCERPT = 160


@frozen(slots=False)
class ReceivedRequest:
    """One request that the server received, as it was sent."""

    number: int
    """Number of the request, from 1; `reset` starts again."""
    connection: int
    """Number of its connection, from 1."""
    method: str
    path: str
    """The path with the query, as sent."""
    headers: Mapping[str, str]
    """The headers; names are in lower case."""
    body: bytes = field(repr=False)
    http_version: str = field(default="HTTP/1.1", repr=False)

    @cached_property
    def json(self) -> Any:
        """The body as JSON, or None if it is not JSON."""
        return parse_json(self.body)

    @property
    def api_key(self) -> str | None:
        """The key of the `Authorization: Bearer` header."""
        scheme, _, key = self.headers.get("authorization", "").partition(" ")
        return key.strip() or None if scheme.lower() == "bearer" else None

    @property
    def model(self) -> str | None:
        """The requested model."""
        model = self._member("model")
        return model if isinstance(model, str) else None

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages in `input`; empty if there are none."""
        return [as_dict(message) for message in as_list(self.input.get("messages"))]

    @property
    def prompt(self) -> str | None:
        """The prompt in `input`."""
        prompt = self.input.get("prompt")
        return prompt if isinstance(prompt, str) else None

    @property
    def input(self) -> dict[str, Any]:
        """The `input` object; empty if there is none."""
        return as_dict(self._member("input"))

    @property
    def parameters(self) -> dict[str, Any]:
        """The `parameters` object; empty if there is none."""
        return as_dict(self._member("parameters"))

    @property
    def streaming(self) -> bool:
        """Whether it requests a stream, by `X-DashScope-SSE` or `Accept: text/event-stream`."""
        enabled = self.headers.get("x-dashscope-sse", "").lower() == "enable"
        return enabled or "text/event-stream" in self.headers.get("accept", "").lower()

    @property
    def incremental(self) -> bool:
        """Whether frames are to have only the new text; by default each repeats all text so far."""
        return self.parameters.get("incremental_output") is True

    @property
    def result_format(self) -> str:
        """`"text"`, the service's default, or `"message"`."""
        return "message" if self.parameters.get("result_format") == "message" else "text"

    @property
    def text(self) -> str:
        """The question: the prompt, or the content of the last message."""
        content = self.messages[-1].get("content") if self.messages else self.prompt
        return content if isinstance(content, str) else ""

    @cached_property
    def excerpt(self) -> str:
        """The beginning of `text`."""
        return self.text[:_LONGEST_EXCERPT]

    @cached_property
    def title(self) -> str:
        """A title in one line, for a log: the model, or else the method and the path."""
        return printable(self.model or f"{self.method} {self.path}")

    @property
    def accepts_gzip(self) -> bool:
        """Whether the client accepts a gzip body."""
        return "gzip" in self.headers.get("accept-encoding", "").lower()

    @property
    def keeps_alive(self) -> bool:
        """Whether the client wants to reuse the connection."""
        closes = self.headers.get("connection", "").lower() == "close"
        return self.http_version == "HTTP/1.1" and not closes

    def shrink(self) -> None:
        """Drop the parsed body, which can take 20 times the memory of its bytes.

        It is parsed again if needed; title and excerpt are kept for the log.
        """
        _ = self.title, self.excerpt
        vars(self).pop("json", None)

    def _member(self, name: str) -> object:
        return as_dict(self.json).get(name)


def printable(text: str, longest: int = _LONGEST_SHOWN) -> str:
    """Return text from outside shortened, with unprintable characters escaped.

    Args:
        text: any text.
        longest: how many characters are shown.
    """
    shown = text if len(text) <= longest else f"{text[:longest]}..."
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in shown)


def parse_json(data: bytes) -> Any:
    """Return the value of some JSON, or None if it is not JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):  # RecursionError: nested too deeply
        return None


def as_dict(value: object) -> dict[str, Any]:
    """Return `value` if it is a JSON object, else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return `value` if it is a JSON array, else an empty one."""
    return list(cast("Iterable[Any]", value)) if isinstance(value, list) else []
