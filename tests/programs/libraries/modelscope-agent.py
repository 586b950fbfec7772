"""ModelScope-Agent's chat models of DashScope: calls, streams, a raw prompt, a refusal."""

from typing import Any

from modelscope_agent.llm import get_chat_model
from modelscope_agent.llm.dashscope import QwenChatAtDS

TALK = [{"role": "user", "content": "介绍一下自己"}]
REPLIES: dict[str, list[Any]] = {
    "call": ["one two three four five six"],
    "stream": ["one two three four five six"],
    "raw_prompt": ["one two three"],
    "refused": [],
}


def model(**more: Any) -> Any:
    """Make the model."""
    return get_chat_model("llama3.3-70b-instruct", "dashscope", **more)


def scenario_call() -> Any:
    made = model()
    return [made.chat(messages=TALK, stream=False), made.get_usage()]


def scenario_stream() -> Any:
    made = model()
    return [list(made.chat(messages=TALK, stream=True, seed=1)), made.get_usage()]


def scenario_raw_prompt() -> Any:
    return QwenChatAtDS("llama2-13b-chat-v2", "dashscope").chat_with_raw_prompt("hi")


def scenario_refused() -> Any:
    return [
        model(api_key="sk-wrong").chat(messages=TALK, stream=False),
        list(model(api_key="sk-wrong").chat(messages=TALK, stream=True)),
    ]
