"""Converts LlamaIndex's messages to the service's, and answers to LlamaIndex's messages."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    ContentBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.llms.llm import ToolSelection

from llama_dashscope import InvalidRequestError, ToolCall

__all__ = ["assistant_message", "conversation", "selections"]

ROLES: Final = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}
"""LlamaIndex's roles, and the service's roles for them."""


def conversation(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Return a conversation as the service accepts it.

    System messages are joined into one at the beginning, since the service accepts no others.

    Raises:
        InvalidRequestError: a message has content that a text model can't read, such as a picture.
    """
    made = [_message(at, message) for at, message in enumerate(messages)]
    system = [message["content"] for message in made if message["role"] == "system"]
    others = [message for message in made if message["role"] != "system"]
    head = [{"role": "system", "content": "\n\n".join(system)}] if system else []
    return [*head, *others]


def _message(at: int, message: ChatMessage) -> dict[str, Any]:
    made: dict[str, Any] = {"role": ROLES[message.role], "content": _text(at, message.blocks)}
    extra = message.additional_kwargs
    if made["role"] == "tool":
        made |= {name: extra[name] for name in ("tool_call_id", "name") if extra.get(name)}
    elif calls := _calls(message):
        made["tool_calls"] = calls
    return made


def _text(at: int, blocks: Iterable[ContentBlock]) -> str:
    """Return the text of a message; its blocks are joined by line breaks, as LlamaIndex does."""
    return "\n".join(text for block in blocks if (text := _block(at, block)) is not None)


def _block(at: int, block: ContentBlock) -> str | None:
    """Return the text of a block; None if it has nothing for the model."""
    if isinstance(block, TextBlock):
        return block.text
    if isinstance(block, CitableBlock):
        return _text(at, block.content)
    if isinstance(block, CitationBlock):
        return _block(at, block.cited_content)
    if isinstance(block, (CachePoint, ThinkingBlock, ToolCallBlock)):
        return None
    msg = (
        f"messages[{at}] has a content block of type {block.block_type!r}; Llama text models only"
        " read text: leave it out, or describe it in words"
    )
    raise InvalidRequestError(msg)


def _calls(message: ChatMessage) -> list[dict[str, Any]]:
    """Return the tool calls of an earlier answer, also in LlamaIndex's older form."""
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if not blocks:
        return list(message.additional_kwargs.get("tool_calls") or ())
    return [_call(block) for block in blocks]


def _call(block: ToolCallBlock) -> dict[str, Any]:
    arguments = block.tool_kwargs
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    function = {"name": block.tool_name, "arguments": arguments}
    return {"id": block.tool_call_id or "", "type": "function", "function": function}


def assistant_message(text: str, reasoning: str, calls: Sequence[ToolCall]) -> ChatMessage:
    """Return an answer as LlamaIndex's message.

    Tool calls are in blocks, and also in `additional_kwargs`, where LlamaIndex's structured streams
    look for them.
    """
    blocks: list[ContentBlock] = [ThinkingBlock(content=reasoning)] if reasoning else []
    if text or not calls:
        blocks.append(TextBlock(text=text))
    for call in calls:
        arguments = _arguments(call.function.arguments)
        name = call.function.name
        blocks.append(ToolCallBlock(tool_call_id=call.id, tool_name=name, tool_kwargs=arguments))
    extra = {"tool_calls": [call.to_dict() for call in calls]} if calls else {}
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=extra)


def _arguments(text: str) -> dict[str, Any] | str:
    """Return a tool's arguments; their text if they are not a JSON object."""
    try:
        found: object = json.loads(text or "{}")
    except ValueError:
        return text
    return cast("dict[str, Any]", found) if isinstance(found, dict) else text


def selections(message: ChatMessage) -> list[ToolSelection]:
    """Return the tool calls of a message.

    Raises:
        ValueError: the arguments of a call are not a JSON object.
    """
    return [_selection(block) for block in message.blocks if isinstance(block, ToolCallBlock)]


def _selection(block: ToolCallBlock) -> ToolSelection:
    if not isinstance(block.tool_kwargs, Mapping):
        msg = f"the arguments of the tool {block.tool_name!r} are not a JSON object: "
        raise ValueError(msg + repr(block.tool_kwargs[:200]))  # noqa: TRY004  what came is a text
    return ToolSelection(
        tool_id=block.tool_call_id or "", tool_name=block.tool_name, tool_kwargs=block.tool_kwargs
    )
