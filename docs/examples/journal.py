"""Ask many questions and keep the answers in a file; an interrupted run resumes from it."""

import asyncio

from llama_dashscope import Client, read_journal

JOURNAL = "answers.jsonl"
ITEMS = ({"custom_id": f"square-{n}", "prompt": f"{n} times {n}?"} for n in range(10))


async def main() -> None:
    """Ask what the journal has no answer to, then read everything in it."""
    async with (
        Client() as client,
        client.abatch(ITEMS, model="llama3.3-70b-instruct", journal=JOURNAL) as batch,
    ):
        print(await batch.aread())
    for result in read_journal(JOURNAL):
        print(result.custom_id, result.error or result.text)


asyncio.run(main())
