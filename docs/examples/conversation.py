"""Keep a conversation: send every turn so far with each question."""

import asyncio

from llama_dashscope import Client, Message


async def main() -> None:
    """Ask two questions; the second makes sense only after the first."""
    messages = [Message("system", "Answer in one sentence.")]
    async with Client() as client:
        for question in ("中国最长的河是哪条？", "它有多长？"):
            messages.append(Message("user", question))
            reply = await client.acall("llama3.3-70b-instruct", messages=messages)
            messages.append(Message("assistant", reply.text))
            print(question, reply.text)


asyncio.run(main())
