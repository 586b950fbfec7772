"""The cost of relaying streams to browsers, with this package and with its peers.

Three processes: a local service that sends a token every 50 ms, a FastAPI application under one
uvicorn worker that passes the tokens on as server-sent events, and this one, which plays all the
browsers. A tenth of them disconnect at random. Run it where uvicorn and the peers are installed;
compare the ratios rather than the figures.
"""

import argparse
import asyncio
import gc
import importlib.util
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.request import urlopen

if TYPE_CHECKING:
    from fastapi import FastAPI

MODEL = "llama3.3-70b-instruct"
ASKED = [{"role": "user", "content": "count"}]
PACE = 20.0
KINDS = ["llama_dashscope", "dashscope", "openai"]


def event(data: object) -> str:
    """Return the event that the peers' applications send for a token."""
    return f"data: {json.dumps(data)}\n\n"


def our_application() -> "FastAPI":
    """Relay with this package."""
    from fastapi import FastAPI

    from llama_dashscope import Client, Limits
    from llama_dashscope.fastapi import ClientDep, EventStream, lifespan

    @asynccontextmanager
    async def opened(app: "FastAPI") -> AsyncGenerator[None]:
        async with lifespan(app, Client(limits=Limits(max_connections=1000))):
            yield

    app = FastAPI(lifespan=opened)

    @app.get("/count", response_class=EventStream)
    async def count(client: ClientDep) -> EventStream:
        return EventStream(client.astream(MODEL, messages=ASKED))

    return app


def relaying(tokens: Any) -> "FastAPI":  # the peers' types don't fit one signature
    """Relay what a function yields, by Starlette's `StreamingResponse`."""
    from fastapi import FastAPI
    from starlette.responses import StreamingResponse

    app = FastAPI()

    async def events() -> AsyncIterator[str]:
        async for token in tokens():
            yield event({"delta": token})
        yield "event: done\n" + event({})

    @app.get("/count")
    async def count() -> StreamingResponse:
        return StreamingResponse(events(), media_type="text/event-stream")

    return app


def dashscope_application() -> "FastAPI":
    """Relay with the service's own SDK."""
    import dashscope

    dashscope.base_http_api_url = os.environ["DASHSCOPE_HTTP_BASE_URL"]
    dashscope.api_key = os.environ["DASHSCOPE_API_KEY"]

    async def tokens() -> AsyncIterator[str]:
        call = cast("Any", dashscope.AioGeneration).call
        frames = await call(
            MODEL, messages=ASKED, result_format="message", stream=True, incremental_output=True
        )
        async for frame in frames:
            if token := frame.output.choices[0].message.content:
                yield token

    return relaying(tokens)


def openai_application() -> "FastAPI":
    """Relay with openai's client."""
    from openai import AsyncOpenAI

    client: Any = AsyncOpenAI(api_key="sk-local", base_url=os.environ["OPENAI_BASE_URL"])

    async def tokens() -> AsyncIterator[str]:
        chunks = await client.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
        async for chunk in chunks:
            if chunk.choices and (token := chunk.choices[0].delta.content):
                yield token

    return relaying(tokens)


APPLICATIONS = {
    "llama_dashscope": our_application,
    "dashscope": dashscope_application,
    "openai": openai_application,
}


def memory_pages() -> int:
    """Return how much memory this process holds."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1])


def serve_application(kind: str) -> None:
    """Print an application's address and serve it until this process is terminated."""
    import uvicorn

    app = APPLICATIONS[kind]()

    @app.get("/state")
    async def state() -> dict[str, float]:
        gc.collect()
        pages = memory_pages()
        used = time.process_time()
        return {"cpu": used, "rss": pages * 4096 / 2**20, "tasks": len(asyncio.all_tasks())}

    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_level="error", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


def serve_upstream(tokens: int) -> None:
    """Run a local DashScope and an OpenAI-compatible server until this process is terminated."""
    from llama_dashscope.testing import LocalDashScope, Reply

    with LocalDashScope() as server:
        server.reply(Reply(pieces=[f"{n} " for n in range(tokens)], tokens_per_second=PACE))
        asyncio.run(serve_openai(server, tokens))


async def serve_openai(server: Any, tokens: int) -> None:  # imported late
    """Answer chat completions at the same pace, and `GET /open` with the open streams' number."""
    open_now = 0

    async def chunk(writer: asyncio.StreamWriter, token: str | None) -> None:
        choice = {"index": 0, "delta": {"content": token}, "finish_reason": None}
        payload = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
        data = event({**payload, "choices": [choice]}).encode()
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await writer.drain()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            body = json.dumps({"open": open_now + server.running}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        else:
            open_now += 1
            watch = asyncio.ensure_future(reader.read())
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
            writer.write(b"transfer-encoding: chunked\r\n\r\n")
            began = time.monotonic()
            for n in range(tokens):
                await asyncio.sleep(began + n / PACE - time.monotonic())
                if writer.is_closing() or reader.at_eof():
                    break
                await chunk(writer, f"{n} ")
            writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
            watch.cancel()
            open_now -= 1
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=2048)
    port = listener.sockets[0].getsockname()[1]
    print(json.dumps({**server.environ, "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"}))
    sys.stdout.flush()
    await listener.serve_forever()


@contextmanager
def program(*arguments: str, **environ: str) -> Generator[str]:
    """Run this file in another process, and return the first line of its output."""
    command = [sys.executable, __file__, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environ}
    ) as running:
        assert running.stdout is not None
        try:
            yield running.stdout.readline().strip()
        finally:
            running.terminate()


async def browser(port: int, leaves_after: float | None) -> bytes | None:
    """Read an answer; returns None for a browser that disconnected before its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /count HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    try:
        return await asyncio.wait_for(reader.read(-1), leaves_after)
    except asyncio.TimeoutError:
        return None
    finally:
        writer.close()


def deltas(raw: bytes) -> list[str]:
    """Return the tokens of an answer."""
    lines = [line[6:] for line in raw.decode().splitlines() if line.startswith("data: {")]
    return [data["delta"] for line in lines if "delta" in (data := json.loads(line))]


def look(address: str) -> dict[str, float]:
    """Return the status that another process reports about itself."""
    with urlopen(address, timeout=60) as reply:  # noqa: S310  # our own address
        found: dict[str, float] = json.load(reply)
    return found


async def crowd(port: int, browsers: int, seconds: float) -> list[bytes | None]:
    """Connect all browsers within a second, and disconnect a tenth of them at random."""
    dice = random.Random(7)  # the same for every kind

    async def one(leaves: bool) -> bytes | None:
        await asyncio.sleep(dice.random())
        return await browser(port, dice.random() * seconds if leaves else None)

    return await asyncio.gather(*(one(n % 10 == 0) for n in range(browsers)))


async def warm_up(port: int) -> None:
    """Run a few streams first, so that one-time costs aren't measured."""
    await asyncio.gather(*(browser(port, 1.0) for _ in range(20)))
    await asyncio.sleep(1)


def measure(kind: str, browsers: int, seconds: float) -> dict[str, float]:
    """Stream to the browsers through one kind of application, and count."""
    tokens = int(seconds * PACE)
    with (
        program("--upstream", str(tokens)) as addresses,
        program("--application", kind, **json.loads(addresses)) as port,
    ):
        upstream = json.loads(addresses)["OPENAI_BASE_URL"].removesuffix("/v1") + "/open"
        state = f"http://127.0.0.1:{port}/state"
        asyncio.run(warm_up(int(port)))
        before, began = look(state), time.monotonic()
        answers = asyncio.run(crowd(int(port), browsers, seconds))
        took = time.monotonic() - began
        after = look(state)
        time.sleep(1)
        left_open, rested = look(upstream)["open"], look(state)
    whole = [f"{n} " for n in range(tokens)]
    finished = [deltas(answer) for answer in answers if answer is not None]
    relayed = sum(map(len, finished)) + (len(answers) - len(finished)) * tokens / 2
    return {
        "us/token": (after["cpu"] - before["cpu"]) / relayed * 1e6,
        "seconds": took,
        "whole": sum(answer == whole for answer in finished),
        "finished": len(finished),
        "upstream open": left_open,
        "tasks left": rested["tasks"] - before["tasks"],
        "MB before": before["rss"],
        "MB after": rested["rss"],
    }


def main() -> None:
    """Measure each kind that is installed, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--browsers", type=int, default=300, help="how many stream at once")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of an answer")
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS)
    parser.add_argument("--application", help=argparse.SUPPRESS)
    parser.add_argument("--upstream", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.upstream is not None:
        serve_upstream(given.upstream)
    elif given.application is not None:
        serve_application(given.application)
    else:
        for kind in (each for each in given.kinds if importlib.util.find_spec(each)):
            figures = measure(kind, given.browsers, given.seconds)
            shown = ", ".join(f"{name} {value:.1f}" for name, value in figures.items())
            print(f"{kind}: {shown}", flush=True)


if __name__ == "__main__":
    main()
