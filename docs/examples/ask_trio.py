"""Ask one question under trio."""

import trio

from llama_dashscope import Client, Message


async def main() -> None:
    """Ask under a trio deadline: if it expires, the connection is closed."""
    async with Client() as client:
        with trio.move_on_after(30):
            reply = await client.acall(
                "llama3.3-70b-instruct", messages=[Message("user", "介绍一下自己")]
            )
            print(reply.text)


trio.run(main)
