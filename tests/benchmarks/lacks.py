"""How clients behave when calls fail: `python -m tests.benchmarks.lacks` prints the table.

Each row is a situation, played by a local server; each cell is what the client's user sees. This
client and the official SDK call the same local DashScope; openai's client calls a server that plays
the same situation in its own protocol.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
import time
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import trio

sys.path.insert(0, str(Path(__file__).parents[1] / "_support"))

from openai_engine import Engine, Handler, chunk, refuses, says, streams

from llama_dashscope import Client
from llama_dashscope.testing import (
    BlackHole,
    CutStream,
    Drip,
    ErrorFrame,
    Heartbeats,
    LocalDashScope,
    RateLimited,
)

MODEL = "llama3.3-70b-instruct"
MESSAGES = [{"role": "user", "content": "hi"}]
KEY = "sk-secret-of-mine"
LIMIT = 1.0
"""The time limit that a client is given, in seconds."""
TRIES = 9
"""Scripted answers per situation: more than any client makes attempts."""
PIECES = [chunk({"content": "a"}), chunk({"content": "b"})]
ANSWER = "answered"


class Face(NamedTuple):
    """A client's interface: a call that returns an answer, and a stream of frames."""

    call: Callable[..., Awaitable[Any]]
    stream: Callable[..., AsyncIterator[Any]]


class World(NamedTuple):
    """The two local servers that play the situations."""

    dashscope: LocalDashScope
    openai: Engine


Opened: TypeAlias = Callable[[World], AbstractAsyncContextManager[Face]]
Situation: TypeAlias = Callable[[World, Face], Awaitable[str]]


@asynccontextmanager
async def ours(world: World) -> AsyncGenerator[Face, None]:
    """Open this client."""
    async with Client(KEY, base_url=world.dashscope.base_url) as client:

        async def stream(**more: Any) -> AsyncGenerator[object, None]:
            async with client.astream(MODEL, messages=MESSAGES, **more) as frames:
                async for frame in frames:
                    yield frame

        async def call(**more: Any) -> object:
            return await client.acall(MODEL, messages=MESSAGES, **more)

        yield Face(call, stream)


@asynccontextmanager
async def dashscope_one(world: World) -> AsyncGenerator[Face, None]:
    """Open the official SDK's 1.x interface."""
    dashscope: Any = import_module("dashscope")
    dashscope.base_http_api_url, dashscope.api_key = world.dashscope.base_url, KEY

    async def call(**more: Any) -> Any:
        if "timeout" in more:
            more["request_timeout"] = more.pop("timeout")
        return await dashscope.AioGeneration.call(MODEL, messages=MESSAGES, **more)

    async def stream(**more: Any) -> AsyncGenerator[object, None]:
        async with aclosing(await call(stream=True, **more)) as frames:
            async for frame in frames:
                yield frame

    yield Face(call, stream)
    await dashscope.close_shared_aio_session()


@asynccontextmanager
async def dashscope_two(world: World) -> AsyncGenerator[Face, None]:
    """Open the official SDK's 2.x interface."""
    v2: Any = import_module("dashscope.v2")
    url = world.dashscope.base_url
    client = v2.AsyncClient(api_key=KEY, base_url=url, protocol="native")
    yield completions(client)
    await client.aclose()


@asynccontextmanager
async def openai(world: World) -> AsyncGenerator[Face, None]:
    """Open openai's client."""
    client = import_module("openai").AsyncOpenAI(api_key=KEY, base_url=world.openai.url)
    yield completions(client)
    await client.close()


def completions(client: Any) -> Face:
    """Return the interface that openai's client and the SDK's 2.x client share."""

    async def call(**more: Any) -> Any:
        return await client.chat.completions.create(model=MODEL, messages=MESSAGES, **more)

    async def stream(**more: Any) -> AsyncGenerator[object, None]:
        async for frame in await call(stream=True, **more):
            yield frame

    return Face(call, stream)


CLIENTS = {
    f"this client {metadata.version('llama-dashscope')}": ours,
    f"dashscope {metadata.version('dashscope')}, 1.x interface": dashscope_one,
    f"dashscope {metadata.version('dashscope')}, 2.x interface": dashscope_two,
    f"openai {metadata.version('openai')}": openai,
}


async def cut_stream(world: World, face: Face) -> str:
    """The connection ends in the middle of the answer."""
    world.dashscope.fault(CutStream(after=2, how="clean"))
    world.openai.will(streams(*PIECES, usage=False, done=False))
    return await read(face)


async def error_in_stream(world: World, face: Face) -> str:
    """The service has no capacity after two frames."""
    world.dashscope.fault(ErrorFrame(after=2))
    error = b'{"error": {"message": "no capacity", "code": "503"}}'
    world.openai.will(streams(*PIECES, error, usage=False, done=False))
    return await read(face)


async def heartbeats(world: World, face: Face) -> str:
    """The service sends heartbeats but no more text."""
    world.dashscope.fault(Heartbeats(after=2, every=0.1))
    world.openai.will(beat)
    return await timed(read(face, timeout=LIMIT))


async def drip(world: World, face: Face) -> str:
    """The answer comes a few bytes at a time, for some 5 seconds."""
    world.dashscope.reply("x" * 60)
    world.dashscope.fault(Drip(size=12, seconds=0.1))
    world.openai.will(*[slowly] * TRIES)
    return await timed(ask(face, timeout=LIMIT))


async def rate_limit(world: World, face: Face) -> str:
    """Every call is refused with 429."""
    world.dashscope.fault(RateLimited(), times=None)
    world.openai.will(*[refuses(429, {"error": {"message": "slow down"}})] * TRIES)
    return await ask(face)


async def short_rate_limit(world: World, face: Face) -> str:
    """The first call is refused with 429."""
    world.dashscope.fault(RateLimited())
    world.openai.will(refuses(429, {"error": {"message": "slow down"}}), says("ok"))
    return await ask(face)


async def mistyped(world: World, face: Face) -> str:
    """A parameter is spelt wrong."""
    world.openai.will(says("ok"))
    said = await ask(face, temprature=0.1)
    return "the answer, without a word" if said == ANSWER else said


async def cancelled(world: World, face: Face) -> str:
    """A call is cancelled while the model computes; the server should see the disconnect."""
    left = threading.Event()
    world.dashscope.fault(BlackHole())
    world.openai.will(lambda handler: hang(handler, left))
    task = asyncio.ensure_future(face.call())
    await asyncio.sleep(0.3)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.2)
    server = world.dashscope
    gone = left.is_set() or bool(server.requests and not server.running)
    return "stops the server" if gone else "the server goes on"


async def plain(world: World, face: Face) -> str:
    """Nothing goes wrong."""
    world.openai.will(says("ok"))
    return await ask(face)


async def ask(face: Face, **more: object) -> str:
    """Return how a call ends."""
    try:
        answer = await face.call(**more)
    except Exception as error:
        return type(error).__name__
    return returned(answer) or ANSWER


async def read(face: Face, **more: object) -> str:
    """Return how a stream ends."""
    frames = 0
    try:
        async for frame in face.stream(**more):
            frames += 1
            if said := returned(frame):
                return said
    except Exception as error:
        text = ", with the text so far" if getattr(error, "partial_text", "") else ""
        return type(error).__name__ + text
    return f"{frames} frames, then the end as of a whole answer"


def returned(answer: object) -> str:
    """Describe a failure that was returned as a value; empty for an answer."""
    status = getattr(answer, "status_code", None)
    return "" if status in {None, 200} else f"returned, with status_code {status}"


async def timed(outcome: Coroutine[Any, Any, str]) -> str:
    """Return an outcome with its duration; gives up after five seconds."""
    started = asyncio.get_running_loop().time()
    try:
        said = await asyncio.wait_for(outcome, 5 * LIMIT)
    except asyncio.TimeoutError:
        return f"still waiting after {5 * LIMIT:.0f} s"
    return f"{said} after {asyncio.get_running_loop().time() - started:.0f} s"


def hang(handler: Handler, left: threading.Event) -> None:
    """Send no answer; set `left` when the client disconnects."""
    if not handler.connection.recv(1):
        left.set()


def beat(handler: Handler) -> None:
    """Begin a stream, then send comments."""
    with suppress(OSError):
        handler.stream(PIECES)
        for _ in range(100):
            handler.wfile.write(b": still here\n\n")
            time.sleep(0.1)


def slowly(handler: Handler) -> None:
    """Send an answer a few bytes at a time."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice]}).encode()
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    with suppress(OSError):
        for start in range(0, len(body), 2):
            handler.wfile.write(body[start : start + 2])
            time.sleep(0.1)


SITUATIONS = {
    "The connection ends in the middle of a streamed answer": cut_stream,
    "The service fails in the middle of a streamed answer": error_in_stream,
    "A stream of heartbeats without an end, timeout 1 s": heartbeats,
    "An answer that drips for 5 s, timeout 1 s": drip,
    "Every call is refused with 429": rate_limit,
    "One call is refused with 429": short_rate_limit,
    "A parameter is spelt wrong (`temprature`)": mistyped,
    "A call is cancelled": cancelled,
}


def try_out(situation: Situation, open_client: Opened, run: Callable[..., str]) -> str:
    """Run one client in one situation, on servers of its own."""

    async def main(world: World) -> str:
        async with open_client(world) as face:
            return await situation(world, face)

    with LocalDashScope(api_key=KEY) as server, Engine() as engine:
        try:
            return run(main, World(server, engine))
        except Exception as error:
            return type(error).__name__


def on_asyncio(main: Callable[[World], Coroutine[Any, Any, str]], world: World) -> str:
    """Run a coroutine on asyncio."""
    return asyncio.run(main(world))


def main() -> None:
    """Print the table as Markdown."""
    warnings.simplefilter("ignore")
    logging.disable()
    print("| |", " | ".join(CLIENTS), "|")
    print("|---" * (len(CLIENTS) + 1) + "|")
    for name, situation in SITUATIONS.items():
        cells = [try_out(situation, each, on_asyncio) for each in CLIENTS.values()]
        print("|", " | ".join([name, *cells]), "|", flush=True)
    cells = [try_out(plain, each, trio.run) for each in CLIENTS.values()]
    print("|", " | ".join(["A call on trio", *cells]), "|")


if __name__ == "__main__":
    main()
