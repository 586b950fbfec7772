"""What a type checker knows of `Generation`; never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

from typing_extensions import assert_type

from llama_dashscope import AioGeneration, Generation, Response

MODEL = "llama3.3-70b-instruct"
MESSAGES = [{"role": "user", "content": "hi"}]


def sync_calls(*, streaming: bool) -> None:
    """`stream` says what comes back, as far as it is known."""
    assert_type(Generation.call(MODEL, "hi"), Response)
    assert_type(Generation.call(MODEL, messages=MESSAGES, stream=False), Response)
    assert_type(Generation.call(MODEL, None, None, None, MESSAGES, None, None, None, 0.5), Response)
    assert_type(
        Generation.call(MODEL, messages=MESSAGES, stream=True, incremental_output=True),
        Generator[Response, None, None],
    )
    assert_type(
        Generation.call(MODEL, messages=MESSAGES, stream=streaming),
        Response | Generator[Response, None, None],
    )


async def async_calls(*, streaming: bool) -> None:
    """So it is in async code, under both names."""
    assert_type(await Generation.acall(MODEL, messages=MESSAGES), Response)
    assert_type(await AioGeneration.call(MODEL, messages=MESSAGES, temperature=0.5), Response)
    assert_type(
        await AioGeneration.call(MODEL, messages=MESSAGES, stream=True),
        AsyncGenerator[Response, None],
    )
    assert_type(
        await Generation.acall(MODEL, messages=MESSAGES, stream=streaming),
        Response | AsyncGenerator[Response, None],
    )
