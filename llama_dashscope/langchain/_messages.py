"""Converts LangChain's messages to the service's, and answers to LangChain's messages."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    InvalidToolCall,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages import ToolCall as LangChainToolCall
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import (
    ToolCallChunk,
    invalid_tool_call,
    tool_call,
    tool_call_chunk,
)

from llama_dashscope import InvalidRequestError, Message, ToolCall, Usage

__all__ = ["answer", "call_chunks", "conversation", "usage_metadata"]

TEXT: Final = frozenset({"text", "text-plain"})
"""Types of content blocks that are text."""

SKIPPED: Final = frozenset(
    {"function_call", "reasoning", "redacted_thinking", "thinking", "tool_call", "tool_use"}
)
"""Types of content blocks of an earlier answer that are sent as tool calls, or not at all."""


def conversation(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Return a conversation as the service accepts it.

    System messages are joined into one at the beginning, since the service accepts no others.

    Raises:
        InvalidRequestError: a message has content that a text model can't read, such as a picture.
    """
    system = [_text(at, m) for at, m in enumerate(messages) if isinstance(m, SystemMessage)]
    others = [_message(at, m) for at, m in enumerate(messages) if not isinstance(m, SystemMessage)]
    head = [{"role": "system", "content": "\n\n".join(system)}] if system else []
    return [*head, *others]


def _message(at: int, message: BaseMessage) -> dict[str, Any]:
    content = _text(at, message)
    if isinstance(message, HumanMessage):
        return {"role": "user", "content": content}
    if isinstance(message, AIMessage):
        calls = [_call(call["name"], call["args"], call["id"]) for call in message.tool_calls]
        calls += [
            _call(call["name"], call["args"], call["id"]) for call in message.invalid_tool_calls
        ]
        said = {"role": "assistant", "content": content}
        return {**said, "tool_calls": calls} if calls else said
    if isinstance(message, ToolMessage):
        found = {"role": "tool", "content": content, "tool_call_id": message.tool_call_id}
        return {**found, "name": message.name} if message.name else found
    if isinstance(message, ChatMessage):
        return {"role": message.role, "content": content}
    msg = f"messages[{at}] is a {type(message).__name__}, for which the service has no role"
    raise InvalidRequestError(msg)


def _call(name: str | None, arguments: object, call_id: str | None) -> dict[str, Any]:
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments or {}, ensure_ascii=False)
    function = {"name": name or "", "arguments": arguments}
    return {"id": call_id or "", "type": "function", "function": function}


def _text(at: int, message: BaseMessage) -> str:
    """Return the text of a message; content blocks are joined."""
    if isinstance(message.content, str):
        return message.content
    return "".join(_block(at, block) for block in message.content)


def _block(at: int, block: str | dict[Any, Any]) -> str:
    if isinstance(block, str):
        return block
    kind = str(block.get("type"))
    if kind in TEXT and isinstance(text := block.get("text"), str):
        return text
    if kind in SKIPPED:
        return ""
    msg = (
        f"messages[{at}] has a content block of type {kind!r}; Llama text models only read text:"
        " leave it out, or describe it in words"
    )
    raise InvalidRequestError(msg)


def answer(message: Message, usage: Usage | None, metadata: Mapping[str, Any]) -> AIMessage:
    """Return an answer as LangChain's message; invalid tool calls are kept in it as such."""
    calls: list[LangChainToolCall] = []
    invalid: list[InvalidToolCall] = []
    for call in message.tool_calls or ():
        arguments, error = _arguments(call)
        if arguments is None:
            text = call.function.arguments
            invalid.append(
                invalid_tool_call(name=call.function.name, args=text, id=call.id, error=error)
            )
        else:
            calls.append(tool_call(name=call.function.name, args=arguments, id=call.id))
    reasoning = message.extra.get("reasoning_content")
    return AIMessage(
        content=message.content,
        tool_calls=calls,
        invalid_tool_calls=invalid,
        usage_metadata=usage_metadata(usage),
        response_metadata=dict(metadata),
        additional_kwargs={"reasoning_content": reasoning} if reasoning else {},
    )


def _arguments(call: ToolCall) -> tuple[dict[str, Any] | None, str]:
    try:
        found: object = json.loads(call.function.arguments or "{}")
    except ValueError as error:
        return None, f"the arguments are not JSON: {error}"
    if isinstance(found, dict):
        return cast("dict[str, Any]", found), ""
    return None, f"the arguments are not an object: {type(found).__name__}"


def call_chunks(calls: Sequence[ToolCall]) -> list[ToolCallChunk]:
    """Return tool calls as parts of a stream, each with its own index."""
    return [
        tool_call_chunk(
            name=call.function.name, args=call.function.arguments, id=call.id, index=place
        )
        for place, call in enumerate(calls)
    ]


def usage_metadata(usage: Usage | None) -> UsageMetadata | None:
    """Return the usage of an answer; None if the service reported none."""
    if usage is None:
        return None
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }
    return cast("UsageMetadata", counts)
