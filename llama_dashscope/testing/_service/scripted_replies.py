"""Replies of the model, scripted or by default: text, tool calls and speed."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from attrs import evolve, field, frozen

from llama_dashscope.testing._service import tokenizer

from .field_types import by_type
from .received_request import ReceivedRequest, as_dict, as_list
from .schema_example import example, requested_schema

_CHINESE = re.compile(r"[\u3400-\u9fff]")


@frozen(field_transformer=by_type)
class ToolCall:
    """A tool call that the model asks for."""

    name: str
    arguments: Mapping[str, Any] | str = field(factory=dict[str, Any])
    """As an object, or as the exact string to send, valid JSON or not."""
    id: str | None = None
    """By default `call_` and its number."""

    @property
    def arguments_text(self) -> str:
        """The arguments as they are sent."""
        if isinstance(self.arguments, str):
            return self.arguments
        return json.dumps(self.arguments, ensure_ascii=False)


@frozen(field_transformer=by_type)
class Reply:
    """One reply of the model.

    `max_tokens` and `stop` of the request shorten it, unless `finish_reason` is set.
    """

    text: str = ""
    tool_calls: Sequence[ToolCall] = ()
    finish_reason: str | None = None
    """By default `"stop"`, `"length"` or `"tool_calls"`, as appropriate."""
    pieces: Sequence[str] | None = None
    """The text as the pieces of a stream, instead of `text`. Each piece counts as a token."""
    tokens_per_second: float | None = None
    """Speed of the reply; None for the server's, infinity for as fast as possible."""
    first_token_delay: float | None = None
    """Seconds before the first token; None for the server's value."""
    usage: Mapping[str, Any] = field(factory=dict[str, Any])
    """Fields to add to the counted usage, or to override in it."""
    request_id: str | None = None
    """By default a new one each time."""


@frozen(field_transformer=by_type)
class Raw:
    """Exact bytes, for invalid answers.

    With `head`, everything is sent unchanged. Without it, the head is made from `status` and
    `headers`, and each of `chunks` is sent as one chunk of a chunked body, unless the headers have
    a length.
    """

    chunks: Sequence[bytes] = ()
    """Each is one write to the socket."""
    status: int = 200
    headers: Mapping[str, str] = field(factory=dict[str, str])
    head: bytes | None = None
    """Status line, headers and the empty line after them."""
    pause: float = 0.0
    """Seconds between the chunks."""
    end: Literal["clean", "fin", "rst", "hang"] = "clean"
    """After the last chunk the body ends properly, or the connection is closed, reset or silent."""


@frozen
class TokenizedReply:
    """A reply to one request: its tokens and its finish_reason."""

    pieces: Sequence[str]
    tool_calls: Sequence[ToolCall]
    finish_reason: str

    @property
    def tokens(self) -> int:
        """Its number of tokens."""
        return len(self.pieces) + sum(
            tokenizer.count(c.arguments_text) + 1 for c in self.tool_calls
        )


def settle(reply: Reply, request: ReceivedRequest) -> TokenizedReply:
    """Return the reply's tokens, shortened by `stop` and `max_tokens` of the request."""
    calls = tuple(
        evolve(call, id=call.id or f"call_{request.number}_{index}")
        for index, call in enumerate(reply.tool_calls)
    )
    pieces = list(reply.pieces) if reply.pieces is not None else tokenizer.cut(reply.text)
    if reply.finish_reason is not None:
        return TokenizedReply(pieces, calls, reply.finish_reason)
    pieces = _until_stop(pieces, request.parameters.get("stop"))
    limit = request.parameters.get("max_tokens")
    if limit is not None and len(pieces) > limit:
        return TokenizedReply(pieces[:limit], (), "length")
    return TokenizedReply(pieces, calls, "tool_calls" if calls else "stop")


def _until_stop(pieces: list[str], stop: object) -> list[str]:
    stops = [stop, *as_list(stop)]
    text = "".join(pieces)
    found = [text.find(word) for word in stops if isinstance(word, str) and word and word in text]
    if not found:
        return pieces
    kept: list[str] = []
    left = min(found)
    for piece in pieces:
        if left > 0:
            kept.append(piece[:left])
        left -= len(piece)
    return kept


def default_reply(request: ReceivedRequest) -> Reply:
    """Return the reply if none is scripted: deterministic, in the language of the question.

    A request with a JSON Schema in its system message or prompt gets a value that fits it.
    """
    parameters = request.parameters
    tool, form = as_dict(parameters.get("tool_choice")), as_dict(parameters.get("response_format"))
    if "function" in tool:
        return Reply(tool_calls=[ToolCall(str(as_dict(tool["function"]).get("name", "")))])
    schema = requested_schema(request)
    if schema is not None:
        return Reply(json.dumps(example(schema), ensure_ascii=False))
    text = _introduction(request)
    if str(form.get("type", "")).startswith("json"):
        text = json.dumps({"reply": text}, ensure_ascii=False)
    return Reply(text)


def _introduction(request: ReceivedRequest) -> str:
    if _CHINESE.search(request.text):
        return (
            f"你好，我是{request.model}，一个人工智能语言模型，可以回答问题、提供信息和完成任务。"
            "我接受过大量文本数据的训练，可以理解和生成类似人类的语言。请随时问我任何问题！"
        )
    return (
        f"Hello! I am {request.model}, a large language model. I can answer questions, provide "
        "information and help you with many tasks. What would you like to know?"
    )
