"""Qwen-Agent: chat in its three ways, function calls, an assistant."""

import json
from typing import Any

from qwen_agent.agents import Assistant
from qwen_agent.llm import get_chat_model
from qwen_agent.llm.schema import Message
from qwen_agent.tools.base import BaseTool, register_tool

from llama_dashscope.testing import Raw, ToolCall

CONFIG = {"model": "llama3.3-70b-instruct", "model_type": "qwen_dashscope"}
TALK = [{"role": "user", "content": "How is the weather?"}]
WEATHER = ToolCall("weather", {"city": "杭州"}, id="call_1")
CALL = '✿FUNCTION✿: weather\n✿ARGS✿: {"city": "杭州"}'
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTIONS = [{"name": "weather", "description": "Say the weather.", "parameters": SCHEMA}]


def thinking(*said: tuple[str, str]) -> Raw:
    """Make a stream of a model that thinks aloud; the last frame is its end."""
    events: list[bytes] = []
    for at, (thought, text) in enumerate(said, start=1):
        message = {"role": "assistant", "content": text, "reasoning_content": thought}
        choice = {"message": message, "finish_reason": "stop" if at == len(said) else "null"}
        frame = {"output": {"choices": [choice]}, "request_id": "r"}
        events.append(
            f"id:{at}\nevent:result\n:HTTP_STATUS/200\ndata:{json.dumps(frame)}\n\n".encode()
        )
    return Raw(events, headers={"content-type": "text/event-stream"})


REPLIES: dict[str, list[Any]] = {
    "call": ["one two three"],
    "stream": ["one two three"],
    "thoughts": [thinking(("hm", ""), (", well", ""), ("", "Yes"))],
    "delta_stream": [thinking(("hm", ""), ("", "Yes"))],
    "functions": [CALL],
    "functions_of_the_service": [WEATHER],
    "assistant": [CALL, "sunny"],
}


@register_tool("weather")
class Weather(BaseTool):
    """Say what the weather is."""

    description = "Say what the weather is."
    parameters = SCHEMA

    def call(self, params: Any, **_: Any) -> str:
        """Answer."""
        return f"22 degrees for {params}"


def model(**more: Any) -> Any:
    """Make the model."""
    return get_chat_model({**CONFIG, "generate_cfg": {"seed": 1, "use_raw_api": False, **more}})


def shown(messages: Any) -> Any:
    """Return messages with the response that each keeps, as it came."""
    return [
        {**each.model_dump(exclude={"extra"}), "extra": json.loads(json.dumps(each.extra))}
        if isinstance(each, Message)
        else each
        for each in messages
    ]


def scenario_call() -> Any:
    return shown(model().chat(messages=[Message(**TALK[0])], stream=False))


def scenario_stream() -> Any:
    return list(model().chat(messages=TALK, stream=True))


def scenario_thoughts() -> Any:
    return list(model().chat(messages=TALK, stream=True))


def scenario_delta_stream() -> Any:
    stream = model().chat(messages=[Message(**TALK[0])], stream=True, delta_stream=True)
    return [shown(each) for each in stream]


def scenario_functions() -> Any:
    return list(model().chat(messages=TALK, functions=FUNCTIONS, stream=True))


def scenario_functions_of_the_service() -> Any:
    native = model(use_raw_api=True)
    return list(native.chat(messages=TALK, functions=FUNCTIONS, stream=True))


def scenario_assistant() -> Any:
    return list(Assistant(llm=model(), function_list=["weather"]).run(TALK))
