"""A Haystack agent with a tool; the adapter is a single component."""

import json
from typing import Annotated, Any

from haystack import component
from haystack.components.agents import Agent
from haystack.dataclasses import ChatMessage, ToolCall
from haystack.tools.from_function import tool
from haystack.tools.tool import Tool

from llama_dashscope import Client


@component
class LlamaChatGenerator:
    """A chat generator for Haystack's agents and pipelines."""

    def __init__(self, model: str) -> None:
        self.model, self.client = model, Client()

    @component.output_types(replies=list[ChatMessage])
    def run(self, messages: list[ChatMessage], tools: list[Tool] | None = None) -> dict[str, Any]:
        """Answer a conversation."""
        conversation = [message.to_openai_dict_format() for message in messages]
        offered = [{"type": "function", "function": each.tool_spec} for each in tools or ()]
        answer = self.client.call(self.model, messages=conversation, tools=offered or None)
        calls = [
            ToolCall(call.function.name, json.loads(call.function.arguments), id=call.id)
            for call in answer.tool_calls
        ]
        return {"replies": [ChatMessage.from_assistant(answer.text or None, tool_calls=calls)]}


@tool
def weather(city: Annotated[str, "Which city"]) -> str:
    """Tell today's weather of a city."""
    return f"{city}：小雨，22 度"


if __name__ == "__main__":
    agent = Agent(chat_generator=LlamaChatGenerator("llama3.3-70b-instruct"), tools=[weather])
    found = agent.run(messages=[ChatMessage.from_user("杭州今天要带伞吗？")])
    print(found["last_message"].text)
