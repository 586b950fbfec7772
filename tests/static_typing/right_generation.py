"""What a type checker knows of `Generation`; never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

from typing_extensions import assert_type

from llama_dashscope import AioGeneration, Generation
from llama_dashscope.compat import Choice, GenerationResponse, Message

MODEL = "llama3.3-70b-instruct"
MESSAGES = [{"role": "user", "content": "hi"}]


def sync_calls(*, streaming: bool) -> None:
    """`stream` says what comes back, as far as it is known."""
    assert_type(Generation.call(MODEL, "hi"), GenerationResponse)
    assert_type(Generation.call(MODEL, messages=MESSAGES, stream=False), GenerationResponse)
    assert_type(
        Generation.call(MODEL, None, None, None, MESSAGES, None, None, None, 0.5),
        GenerationResponse,
    )
    assert_type(
        Generation.call(MODEL, messages=MESSAGES, stream=True, incremental_output=True),
        Generator[GenerationResponse, None, None],
    )
    assert_type(
        Generation.call(MODEL, messages=MESSAGES, stream=streaming),
        GenerationResponse | Generator[GenerationResponse, None, None],
    )


def responses() -> None:
    """The fields of a response are known, to be read and to be set; any other is there, too."""
    response = Generation.call(MODEL, "hi")
    choice = response.output.choices[0]
    assert_type(choice, Choice)
    assert_type(choice.message, Message)
    assert_type(response.usage.input_tokens, int)
    assert_type(response["output"]["text"], Any)
    assert_type(response.usage.total_tokens, Any)
    response.output.text = "x"
    plain: dict[str, Any] = response
    del plain


async def async_calls(*, streaming: bool) -> None:
    """So it is in async code, under both names."""
    assert_type(await Generation.acall(MODEL, messages=MESSAGES), GenerationResponse)
    assert_type(
        await AioGeneration.call(MODEL, messages=MESSAGES, temperature=0.5), GenerationResponse
    )
    assert_type(
        await AioGeneration.call(MODEL, messages=MESSAGES, stream=True),
        AsyncGenerator[GenerationResponse, None],
    )
    assert_type(
        await Generation.acall(MODEL, messages=MESSAGES, stream=streaming),
        GenerationResponse | AsyncGenerator[GenerationResponse, None],
    )
