"""A LangGraph agent that can look up the weather; prints each step."""

import asyncio
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from llama_dashscope.langchain import ChatLlamaDashScope


@tool
def weather(city: str) -> str:
    """Tell today's weather of a city."""
    return f"{city}：小雨，22 度"


model = ChatLlamaDashScope(model="llama3.3-70b-instruct").bind_tools([weather])


async def think(state: MessagesState) -> dict[str, list[AIMessage]]:
    """Let the model answer or call a tool."""
    return {"messages": [await model.ainvoke(state["messages"])]}


def agent() -> Any:
    """Build the agent: the model and its tools."""
    graph = StateGraph(MessagesState)
    graph.add_node("model", think)
    graph.add_node("tools", ToolNode([weather]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph.compile()


async def main() -> None:
    """Ask one question and show every step."""
    state = await agent().ainvoke({"messages": [HumanMessage("杭州今天要带伞吗？")]})
    for message in state["messages"]:
        print(f"{message.type}: {message.text or message.tool_calls}")


if __name__ == "__main__":
    asyncio.run(main())
