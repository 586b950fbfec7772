"""LangChain's ChatTongyi: calls, streams, tools, structured answers, an agent that remembers."""

from typing import Any

from langchain_community.chat_models.tongyi import ChatTongyi
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import create_react_agent
from pydantic import BaseModel

from llama_dashscope.testing import ToolCall

MODEL = "llama3.3-70b-instruct"
TALK = [SystemMessage("Be brief."), HumanMessage("介绍一下自己")]
WEATHER = ToolCall("weather", {"city": "杭州"}, id="call_1")
REPLIES: dict[str, list[Any]] = {
    "invoke": ["one two three"],
    "streaming": ["one two three"],
    "stream": ["one two three"],
    "astream": ["one two three"],
    "ainvoke": ["one two three"],
    "tools": [WEATHER],
    "tools_in_a_stream": [WEATHER],
    "structured": [ToolCall("Trip", {"city": "杭州", "days": 3}, id="call_1")],
    "agent": [WEATHER, "sunny", "as I said: sunny"],
    "refused": [],
}


class Trip(BaseModel):
    """A trip."""

    city: str
    days: int


@tool
def weather(city: str) -> str:
    """Say what the weather is."""
    return f"22 degrees in {city}"


def model(**more: Any) -> ChatTongyi:
    """Make the model."""
    return ChatTongyi(model=MODEL, **more)


def shown(message: Any) -> Any:
    """Return a message without what is new in each run."""
    return message.model_dump(exclude={"id"})


def scenario_invoke() -> Any:
    return shown(model(temperature=0.5, model_kwargs={"temperature": 0.5}).invoke(TALK))


def scenario_streaming() -> Any:
    return shown(model(streaming=True).invoke(TALK))


def scenario_stream() -> Any:
    return [shown(each) for each in model().stream(TALK)]


async def scenario_astream() -> Any:
    return [shown(each) async for each in model().astream(TALK)]


async def scenario_ainvoke() -> Any:
    return shown(await model().ainvoke(TALK))


def scenario_tools() -> Any:
    return shown(model().bind_tools([weather]).invoke(TALK))


def scenario_tools_in_a_stream() -> Any:
    return [shown(each) for each in model().bind_tools([weather]).stream(TALK)]


def scenario_structured() -> Any:
    return model().with_structured_output(Trip).invoke(TALK)


def scenario_agent() -> Any:
    agent = create_react_agent(model(), [weather], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    agent.invoke({"messages": [("user", "How is the weather?")]}, config)
    state = agent.invoke({"messages": [("user", "Sure?")]}, config)
    return [shown(each) for each in state["messages"]]


def scenario_refused() -> Any:
    return model(dashscope_api_key="sk-wrong", max_retries=1).invoke(TALK)
