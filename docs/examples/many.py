"""Ask many questions at once over one client."""

import asyncio

from llama_dashscope import Client, DashScopeError, Message

QUESTIONS = ["什么是异步？", "什么是流？", "什么是令牌？"]


async def answer(client: Client, question: str) -> str:
    """Return the answer, or what went wrong: one failure must not lose the others."""
    try:
        reply = await client.acall("llama3.3-70b-instruct", messages=[Message("user", question)])
    except DashScopeError as error:
        return f"failed: {error}"
    return reply.text


async def main() -> None:
    """Send all questions; the client queues what its connections can't carry at once."""
    async with Client() as client:
        answers = await asyncio.gather(*(answer(client, each) for each in QUESTIONS))
    for question, text in zip(QUESTIONS, answers, strict=True):
        print(question, text)


asyncio.run(main())
