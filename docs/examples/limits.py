"""Limit how long a call may take and how often it is retried."""

import asyncio

from llama_dashscope import APITimeoutError, Client, Message, Timeout


async def main() -> None:
    """Allow 5 s to connect, 30 s to the first byte, 10 s between frames, 60 s for everything."""
    limits = Timeout(connect=5, read=30, idle=10, total=60)
    async with Client(timeout=limits, retry=1) as client:
        try:
            reply = await client.acall(
                "llama3.3-70b-instruct",
                messages=[Message("user", "介绍一下自己")],
                timeout=20,  # for this call: connect, read and idle; total stays 60
            )
            print(reply.text)
        except APITimeoutError as error:
            print("gave up:", error)


asyncio.run(main())
