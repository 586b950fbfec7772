"""Show an answer while it is being written."""

import asyncio

from llama_dashscope import Client, Message


async def main() -> None:
    """Print the pieces as they arrive, then the token usage."""
    async with Client() as client:
        async with client.astream(
            "llama3.3-70b-instruct", messages=[Message("user", "介绍一下自己")]
        ) as stream:
            async for chunk in stream:
                print(chunk.delta, end="", flush=True)
        print()
        print(stream.response.finish_reason, stream.response.usage)


asyncio.run(main())
