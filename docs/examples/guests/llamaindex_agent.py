"""A LlamaIndex agent with a tool; its answer is streamed."""

import asyncio

from llama_index.core.agent.workflow import AgentStream, FunctionAgent

from llama_dashscope.llamaindex import LlamaDashScope


def weather(city: str) -> str:
    """Tell today's weather of a city."""
    return f"{city}：小雨，22 度"


async def main() -> None:
    """Ask one question."""
    agent = FunctionAgent(tools=[weather], llm=LlamaDashScope(model="llama3.3-70b-instruct"))
    run = agent.run(user_msg="杭州今天要带伞吗？")  # type: ignore[deprecated]  # it is not
    async for event in run.stream_events():
        if isinstance(event, AgentStream):
            print(event.delta, end="", flush=True)
    print()
    await run


if __name__ == "__main__":
    asyncio.run(main())
