"""Read a stream in async code, and notice when the answer is cut off."""

import asyncio
from contextlib import aclosing

from llama_dashscope import AioGeneration, IncompleteResponseError


async def main() -> None:
    """Print the pieces as they come."""
    responses = await AioGeneration.call(
        model="llama3.3-70b-instruct",
        messages=[{"role": "user", "content": "介绍一下自己"}],
        result_format="message",
        stream=True,
        incremental_output=True,
    )
    try:
        async with aclosing(responses):  # closes the stream if the loop ends early
            async for response in responses:
                if response.status_code != 200:
                    print(response.code, response.message)
                    break
                print(response["output"]["choices"][0]["message"]["content"], end="", flush=True)
    except IncompleteResponseError as error:
        print(f"\ncut off after {len(error.partial_text)} characters")


asyncio.run(main())
