"""Ask one question from async code."""

import asyncio

from llama_dashscope import Client, Message


async def main() -> None:
    """Print the answer, why it ended, and the tokens it used."""
    async with Client() as client:
        reply = await client.acall(
            "llama3.3-70b-instruct",
            messages=[
                Message("system", "You are a helpful assistant."),
                Message("user", "介绍一下自己"),
            ],
            temperature=0.7,
            max_tokens=500,
        )
    print(reply.text)
    print("finished because:", reply.finish_reason)
    if reply.usage:
        print("tokens:", reply.usage.input_tokens, "in,", reply.usage.output_tokens, "out")


asyncio.run(main())
