"""Calls that must type-check, and the types that they must have; checked, never run."""

from __future__ import annotations

from typing import Literal

from attrs import frozen
from typing_extensions import assert_type

from llama_dashscope import (
    APIStatusError,
    APITimeoutError,
    Chunk,
    Client,
    DashScopeError,
    IncompleteResponseError,
    Message,
    Parsed,
    ParseError,
    RateLimitError,
    Response,
    Timeout,
    Usage,
    read_arguments,
)

MODEL = "llama3.3-70b-instruct"


async def calls(client: Client) -> None:
    """A call gives a whole response, whatever form the messages have."""
    assert_type(await client.acall(MODEL, "你好"), Response)
    assert_type(client.call(MODEL, "你好"), Response)
    assert_type(client.call(MODEL, messages=[{"role": "user", "content": "你好"}]), Response)
    client.call(MODEL, messages=[Message("system", "…"), {"role": "user", "content": "你好"}])
    turns = [Message("user", "你好")]
    client.call(MODEL, messages=turns)
    plain = [{"role": "user", "content": "你好"}]
    client.call(MODEL, messages=plain)
    client.call(MODEL, "你好", temperature=0.7, top_p=0.9, top_k=5, seed=1, max_tokens=100)
    client.call(MODEL, "你好", stop=["。"], parameters={"enable_search": True}, timeout=5)
    client.call(MODEL, "你好", timeout=Timeout(total=5), headers={"X-Trace": "1"})


async def responses(reply: Response) -> None:
    """A response has the fields of the service's SDK, and the reply as text."""
    assert_type(reply.text, str)
    assert_type(reply.status_code, int)
    assert_type(reply.request_id, str)
    assert_type(reply.code, str)
    assert_type(reply.message, str)
    assert_type(reply.usage, Usage | None)
    if reply.usage:
        assert_type(reply.usage.total_tokens, int)
    for choice in reply.output.choices or ():
        assert_type(choice.message, Message)
        assert_type(choice.message.content, str)
        assert_type(choice.finish_reason, str | None)


async def streams(client: Client) -> None:
    """Streams of both worlds give chunks and, at the end, a response."""
    async with client.astream(MODEL, "你好", incremental_output=False) as stream:
        async for chunk in stream:
            assert_type(chunk, Chunk)
            assert_type(chunk.delta, str)
            assert_type(chunk.text, str)
            assert_type(chunk.finish_reason, str | None)
    assert_type(stream.response, Response)
    with client.stream(MODEL, "你好") as twin:
        for piece in twin:
            assert_type(piece, Chunk)
    assert_type(twin.response, Response)


@frozen
class Trip:
    """A type to ask for."""

    city: str


async def structured(client: Client) -> None:
    """A type in, a value of that type out."""
    turns = [Message("user", "罗马")]
    assert_type(await client.aparse(MODEL, Trip, messages=turns), Parsed[Trip])
    assert_type(client.parse(MODEL, Trip, "罗马", tries=1, seed=1).value, Trip)
    assert_type(client.parse(MODEL, list[Trip], messages=turns).value, list[Trip])
    assert_type(client.parse(MODEL, Trip | None, messages=turns).value, Trip | None)
    assert_type(client.parse(MODEL, Literal["a"], unknown_fields="keep").value, Literal["a"])
    try:
        assert_type(client.parse(MODEL, dict[str, int], "罗马").usage, Usage | None)
    except ParseError as error:
        assert_type(error.paths, tuple[str, ...])
        assert_type(error.response, Response | None)


def weather(city: str) -> str:
    """A function to be called by a model."""
    return city


def tools(client: Client) -> None:
    """Functions and schemas are tools."""
    reply = client.call(MODEL, "罗马", tools=[weather, {"type": "function"}])
    client.call(MODEL, "罗马", tools=[weather])
    for call in reply.tool_calls:
        weather(**read_arguments(weather, call))


async def lifetimes() -> None:
    """Both kinds of `with` give the client back, and both kinds of close exist."""
    async with Client(timeout=30, retry=0) as client:
        assert_type(client, Client)
    with Client("sk-key", base_url="http://127.0.0.1:1", workspace="ws") as twin:
        assert_type(twin, Client)
    await client.aclose()
    twin.close()


def errors(error: DashScopeError) -> None:
    """Every error has the same fields; a few have more."""
    assert_type(error.code, str)
    assert_type(error.message, str)
    assert_type(error.status_code, int | None)
    assert_type(error.request_id, str)
    assert_type(error.partial_text, str)
    if isinstance(error, RateLimitError):
        assert_type(error.retry_after, float | None)
        wider: APIStatusError = error
        assert_type(wider.code, str)
    if isinstance(error, APITimeoutError):
        assert_type(error.limit, str)
        assert_type(error.waited, float)
    if isinstance(error, IncompleteResponseError):
        assert_type(error.usage, Usage | None)
