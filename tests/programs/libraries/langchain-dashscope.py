"""langchain-dashscope's ChatDashScope: calls and streams."""

from typing import Any

from langchain_core.messages import HumanMessage, SystemMessage
from langchain_dashscope import ChatDashScope

TALK = [SystemMessage(content="Be brief."), HumanMessage(content="介绍一下自己")]
REPLIES: dict[str, list[Any]] = {
    "invoke": ["one two three"],
    "stream": ["one two three"],
    "ainvoke": ["one two three"],
    "refused": [],
}


def model(**more: Any) -> ChatDashScope:
    """Make the model."""
    return ChatDashScope(model="llama3.3-70b-instruct", **more)


def shown(message: Any) -> Any:
    """Return a message without what is new in each run."""
    return message.dict(exclude={"id"})


def scenario_invoke() -> Any:
    return shown(model().invoke(TALK))


def scenario_stream() -> Any:
    return [shown(each) for each in model().stream(TALK)]


async def scenario_ainvoke() -> Any:
    return shown(await model().ainvoke(TALK))


def scenario_refused() -> Any:
    return model(api_key="sk-wrong").invoke(TALK)
