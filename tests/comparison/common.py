"""What situations of both frameworks need: words, tools, looks at the server and at errors."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from functools import partial
from typing import NoReturn, TypeVar

from llama_dashscope import Client
from llama_dashscope.testing import LocalDashScope, Reply, ToolCall

__all__ = [
    "CALLS",
    "KEY",
    "MODEL",
    "REPEATED",
    "SLOW",
    "TEXT",
    "in_thread",
    "is_rate_limit",
    "left",
    "started",
    "usage",
]

T = TypeVar("T")

MODEL = "llama3.3-70b-instruct"
KEY = "sk-local"
TEXT = "你好，我是一只羊驼 🦙，很高兴认识你。"
REPEATED = "ha ha ha, no no no, ha ha ha"
CALLS = [ToolCall("weather", {"city": "杭州"}), ToolCall("local_time", {"zone": 8})]


async def in_thread(function: Callable[[], T]) -> T:
    """Run sync code in a thread that nobody waits for when it never ends."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Callable[[], T]] = loop.create_future()

    def end(how: Callable[[], T]) -> None:
        if not ended.done():
            ended.set_result(how)

    def work() -> None:
        try:
            result = function()
        except Exception as error:
            loop.call_soon_threadsafe(end, partial(_raise, error))
        else:
            loop.call_soon_threadsafe(end, lambda: result)

    threading.Thread(target=work, daemon=True).start()
    return (await ended)()


def _raise(error: Exception) -> NoReturn:
    raise error


async def usage(server: LocalDashScope) -> tuple[int, int]:
    """Return the tokens that the service counts for `hi` and TEXT."""
    async with Client(KEY, base_url=server.base_url) as client:
        server.reply(TEXT)
        answer = await client.acall(MODEL, messages=[{"role": "user", "content": "hi"}])
    assert answer.usage
    return answer.usage.input_tokens, answer.usage.output_tokens


async def is_rate_limit(error: BaseException, server: LocalDashScope) -> bool:
    """Tell whether an error has the status 429 and the request's id."""
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    shown = f"{error!r} {error} {vars(error)} {response}"
    await server.await_for(lambda seen: seen.exchanges[-1].outcome != "running")
    said = json.loads(server.exchanges[-1].answer or b"{}")
    return str(status) == "429" and said["request_id"] in shown


async def left(server: LocalDashScope) -> bool:
    """Tell whether the server sees its client leave within two seconds."""
    for _ in range(200):
        if server.exchanges and server.exchanges[-1].outcome == "client left":
            return True
        await asyncio.sleep(0.01)
    return False


async def started(server: LocalDashScope) -> None:
    """Wait until a request has arrived."""
    while not server.requests:
        await asyncio.sleep(0.01)


SLOW = Reply("word " * 2000, tokens_per_second=50)
"""An answer that takes its time."""
