"""Ask many questions concurrently over one client."""

import asyncio

from llama_dashscope import Client

QUESTIONS = ["什么是异步？", "什么是流？", "什么是令牌？"]


async def main() -> None:
    """Print each answer as it arrives; a failed question does not affect the others."""
    async with (
        Client() as client,
        client.abatch(QUESTIONS, model="llama3.3-70b-instruct") as batch,
    ):
        async for result in batch:
            print(result.item, result.error or result.text)
    print(batch.summary)


asyncio.run(main())
