"""Calls that must not type-check; each is marked with mypy's error for it. Checked, never run."""

from __future__ import annotations

from llama_dashscope import Client, Message, RateLimitError, Response, Timeout

MODEL = "llama3.3-70b-instruct"


def arguments(client: Client) -> None:
    """What a call refuses when it runs, a type checker refuses before."""
    client.call()  # E: call-arg
    client.call(MODEL, 42)  # E: arg-type
    client.call(MODEL, messages="你好")  # E: arg-type
    client.call(MODEL, messages=["你好"])  # E: list-item
    client.call(MODEL, "你好", temperature="hot")  # E: arg-type
    client.call(MODEL, "你好", incremental_output=True)  # E: call-arg
    client.call(MODEL, "你好", stream=True)  # E: call-arg
    client.call(MODEL, "你好", timeout="5")  # E: arg-type
    client.stream(MODEL, "你好", incremental_output="yes")  # E: arg-type
    client.parse(MODEL, messages=[])  # E: call-arg
    client.call(MODEL, "你好", tools=["weather"])  # E: list-item
    client.parse(MODEL, "你好")  # E: arg-type
    client.parse(MODEL, int, "你好", unknown_fields="drop")  # E: arg-type
    Message()  # E: call-arg
    Message("user", b"bytes")  # E: arg-type
    Timeout("5")  # E: arg-type
    Client(base_url=80)  # E: arg-type
    Client(timout=5)  # E: call-arg


async def worlds(client: Client) -> None:
    """Async and sync can't be mixed up."""
    client.acall(MODEL, "你好").text  # E: attr-defined
    await client.call(MODEL, "你好")  # E: misc
    async with client.stream(MODEL, "你好"):  # E: attr-defined
        pass
    with client.astream(MODEL, "你好"):  # E: attr-defined
        pass
    for _ in client.astream(MODEL, "你好"):  # E: attr-defined
        pass


def results(reply: Response, error: RateLimitError) -> None:
    """Answers are values: a typing slip and an assignment are caught."""
    reply.txet  # E: attr-defined
    reply.code = "x"  # E: misc
    reply.usage.total_tokens  # E: union-attr
    error.retry_after + 1  # E: operator
