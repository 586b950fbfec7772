"""Keep what has arrived when a stream breaks off."""

import asyncio

from llama_dashscope import Client, DashScopeError, Message


async def main() -> None:
    """Print the answer, or the part of it that came before the failure."""
    async with Client() as client:
        try:
            async with client.astream(
                "llama3.3-70b-instruct", messages=[Message("user", "介绍一下自己")]
            ) as stream:
                async for chunk in stream:
                    print(chunk.delta, end="", flush=True)
        except DashScopeError as error:
            print("\nThe answer broke off:", error)
            print("What arrived of it:", error.partial_text)


asyncio.run(main())
