"""One span for each call, whatever way it takes: under its parent, and ended once."""

from __future__ import annotations

import gc
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
from client_matrix import MODEL
from fastapi import FastAPI
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from llama_dashscope import APIConnectionError, Client, Generation, RateLimitError, Retry
from llama_dashscope.fastapi import ClientDep, EventStream, lifespan
from llama_dashscope.testing import BlackHole, CutStream, LocalDashScope, RateLimited, Stall

from .conftest import Telemetry, Told

Ask = Callable[[Client], Awaitable[object]]
Run = Callable[[Callable[[], Awaitable[Any]]], Any]


@pytest.fixture(params=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run an async function on each backend."""
    return lambda function: anyio.run(function, backend=request.param)


@pytest.fixture(autouse=True)
def no_trouble(caplog: pytest.LogCaptureFixture) -> Any:
    """Fail where OpenTelemetry or an observer complains, such as of a context in a wrong task."""
    yield
    assert [each for each in caplog.records if each.levelname in {"WARNING", "ERROR"}] == []


async def call(client: Client) -> None:
    """Ask and wait."""
    await client.acall(MODEL, "hi")


async def stream(client: Client) -> None:
    """Read a stream to its end."""
    async with client.astream(MODEL, "hi") as opened:
        await opened.aread()


async def leave(client: Client) -> None:
    """Leave a stream early."""
    async with client.astream(MODEL, "hi") as opened:
        await anext(opened)


async def cancelled_call(client: Client) -> None:
    """Give up before an answer."""
    with anyio.move_on_after(0.1):
        await client.acall(MODEL, "hi")


async def cancelled_stream(client: Client) -> None:
    """Give up in the middle of an answer."""
    with anyio.move_on_after(0.2):
        await stream(client)


async def closed_elsewhere(client: Client) -> None:
    """Close a stream in another task than it was opened in."""
    opened = client.astream(MODEL, "hi")
    async with anyio.create_task_group() as group:
        group.start_soon(anext, opened)
    async with anyio.create_task_group() as group:
        group.start_soon(opened.aclose)


async def handed_over(client: Client) -> None:
    """Open a stream in one task, and read it in others."""
    opened = client.astream(MODEL, "hi")
    for read in (opened.__aenter__, opened.aread, opened.aclose):
        async with anyio.create_task_group() as group:
            group.start_soon(read)


async def in_a_generator(client: Client) -> None:
    """Leave a generator that reads a stream, so that it is closed wherever that may be."""

    async def texts() -> AsyncGenerator[str, None]:
        async with client.astream(MODEL, "hi") as opened:
            async for chunk in opened:
                yield chunk.delta

    generator = texts()
    await anext(generator)
    await generator.aclose()


async def sync_call(client: Client) -> None:
    """Ask in a thread of anyio's, as a sync handler does."""
    await anyio.to_thread.run_sync(client.call, MODEL, "hi")


async def sync_stream(client: Client) -> None:
    """Read a stream in a thread of anyio's."""

    def read() -> None:
        with client.stream(MODEL, "hi") as opened:
            opened.read()

    await anyio.to_thread.run_sync(read)


async def batch(client: Client) -> None:
    """Ask a batch of one."""
    async with client.abatch([{"model": MODEL, "prompt": "hi"}]) as results:
        async for result in results:
            assert result.error is None


SOUND = [call, stream, handed_over, sync_call, sync_stream, batch]
LEFT = [leave, cancelled_call, cancelled_stream, closed_elsewhere, in_a_generator]


def under_a_parent(telemetry: Telemetry, run: Run, client: Client, ask: Ask) -> ReadableSpan:
    """Ask under a span of one's own, and return the call's span; it is the other's child."""
    parents: list[Any] = []

    async def main() -> None:
        with telemetry.tracer.start_as_current_span("mine") as parent:
            parents.append(parent.get_span_context())
            await ask(client)
        await client.aclose()

    run(main)
    span = telemetry.span

    assert span.kind is SpanKind.CLIENT
    assert span.parent is not None
    assert span.parent.span_id == parents[0].span_id
    assert span.end_time is not None
    return span


@pytest.mark.parametrize("ask", SOUND)
def test_an_answer(telemetry: Telemetry, run: Run, client: Client, ask: Ask) -> None:
    """It has its tokens and why it ended."""
    told = Told(under_a_parent(telemetry, run, client, ask))

    assert told.span.status.status_code is StatusCode.UNSET
    assert told["gen_ai.usage.output_tokens"] > 0
    assert told["gen_ai.response.finish_reasons"] == ("stop",)
    assert "error.type" not in told


@pytest.mark.parametrize("ask", LEFT)
def test_given_up(
    telemetry: Telemetry, run: Run, client: Client, server: LocalDashScope, ask: Ask
) -> None:
    """That is no error; tokens that were counted are told."""
    server.fault(BlackHole() if ask is cancelled_call else Stall(1))

    told = Told(under_a_parent(telemetry, run, client, ask))

    assert told.span.status.status_code is StatusCode.UNSET
    assert told["llama_dashscope.left_early"]
    assert "error.type" not in told
    assert ("gen_ai.usage.output_tokens" in told) == (ask is not cancelled_call)


@pytest.mark.parametrize("ask", [each for each in SOUND if each is not batch])
def test_a_retry(
    telemetry: Telemetry, run: Run, client: Client, server: LocalDashScope, ask: Ask
) -> None:
    """It is an event of the one span."""
    server.fault(RateLimited())

    span = under_a_parent(telemetry, run, client, ask)
    [event] = span.events

    assert event.name == "llama_dashscope.retry"
    assert event.attributes is not None
    assert event.attributes["error.type"] == "Throttling.RateQuota"
    assert event.attributes["http.response.status_code"] == 429
    assert event.attributes["http.request.resend_count"] == 1
    assert Told(span)["http.request.resend_count"] == 1
    assert span.status.status_code is StatusCode.UNSET


def test_nobody_there(telemetry: Telemetry, server: LocalDashScope) -> None:
    """Where no answer came, there is no status and no request id."""
    address = server.base_url
    server.close()
    asked = Client("sk-0", base_url=address, retry=Retry(base=0, times=1))
    with asked, pytest.raises(APIConnectionError):
        asked.call(MODEL, "hi")
    [event] = telemetry.span.events

    assert set(event.attributes or ()) == {
        "error.type",
        "http.request.resend_count",
        "llama_dashscope.retry.pause",
    }
    assert "gen_ai.response.id" not in Told(telemetry.span)


def test_an_item_of_a_batch_that_is_asked_again(
    telemetry: Telemetry, run: Run, client: Client, server: LocalDashScope
) -> None:
    """A batch waits itself and calls anew: each of its calls has a span."""
    server.fault(RateLimited())

    async def main() -> None:
        await batch(client)
        await client.aclose()

    run(main)

    assert [each.status.status_code for each in telemetry.spans] == [
        StatusCode.ERROR,
        StatusCode.UNSET,
    ]


@pytest.mark.parametrize("ask", [call, stream, sync_call, sync_stream])
def test_a_refusal(
    telemetry: Telemetry, run: Run, client: Client, server: LocalDashScope, ask: Ask
) -> None:
    """The error has the service's code; no message of it is recorded."""
    server.fault(RateLimited(), times=None)

    async def refused(asked: Client) -> None:
        with pytest.raises(RateLimitError):
            await ask(asked)

    span = under_a_parent(telemetry, run, client, refused)

    assert Told(span)["error.type"] == "Throttling.RateQuota"
    assert (span.status.status_code, span.status.description) == (
        StatusCode.ERROR,
        "RateLimitError",
    )
    assert [event.name for event in span.events] == ["llama_dashscope.retry"] * 2
    assert Told(span)["http.request.resend_count"] == 2


@pytest.mark.parametrize("ask", [stream, sync_stream])
def test_a_cut(
    telemetry: Telemetry, run: Run, client: Client, server: LocalDashScope, ask: Ask
) -> None:
    """A stream that breaks has the class of its error, and what it had counted."""
    server.fault(CutStream(after=1))

    async def broken(asked: Client) -> None:
        with pytest.raises(APIConnectionError):
            await ask(asked)

    told = Told(under_a_parent(telemetry, run, client, broken))

    assert told["error.type"] == "APIConnectionError"
    assert told["gen_ai.usage.output_tokens"] > 0
    assert "gen_ai.response.finish_reasons" not in told


def test_a_stream_that_nobody_closes(
    telemetry: Telemetry, run: Run, client: Client, server: LocalDashScope
) -> None:
    """Its span ends when it is found."""
    server.fault(Stall(1))

    async def abandoned(asked: Client) -> None:
        kept = [asked.astream(MODEL, "hi")]
        await anext(kept[0])
        with pytest.warns(ResourceWarning, match="left open"):
            kept.clear()
        gc.collect()
        with anyio.fail_after(5):
            while not telemetry.spans:
                await anyio.sleep(0.01)

    told = Told(under_a_parent(telemetry, run, client, abandoned))

    assert told["llama_dashscope.left_early"]


def test_the_official_face(telemetry: Telemetry, server: LocalDashScope) -> None:
    """Generation's calls and streams are recorded like any other."""
    key, address = server.api_key, server.base_url
    answer = Generation.call(MODEL, "hi", api_key=key, base_address=address)
    stream = Generation.call(MODEL, "hi", api_key=key, base_address=address, stream=True)
    frames = list(stream)
    called, streamed = map(Told, telemetry.spans)

    assert called["gen_ai.usage.output_tokens"] == answer.usage.output_tokens
    assert called["gen_ai.response.id"] == answer.request_id
    assert called["gen_ai.response.finish_reasons"] == ("stop",)
    assert streamed["gen_ai.response.id"] == frames[-1].request_id


def test_sync_code(telemetry: Telemetry, client: Client) -> None:
    """The background thread's calls are children of the span in the caller's thread."""
    with telemetry.tracer.start_as_current_span("mine") as parent:
        client.call(MODEL, "hi")
        with client.stream(MODEL, "hi") as opened:
            next(opened)
        thread = threading.Thread(target=client.call, args=(MODEL, "hi"))
        thread.start()
        thread.join()
    mine = parent.get_span_context().span_id
    parents = [each.parent.span_id if each.parent else None for each in telemetry.spans]

    assert parents == [mine, mine, None]


def test_a_handler_of_fastapi(telemetry: Telemetry, run: Run, client: Client) -> None:
    """A handler in a worker thread and a relayed stream are under the request's span."""
    app = FastAPI(lifespan=partial(lifespan, client=client))

    @app.get("/call")
    def ask(shared: ClientDep) -> str:
        with telemetry.tracer.start_as_current_span("request"):
            return shared.call(MODEL, "hi").text

    @app.get("/stream", response_class=EventStream)
    async def relay(shared: ClientDep) -> EventStream:
        return EventStream(shared.astream(MODEL, "hi"))

    async def browse() -> None:
        transport = httpx.ASGITransport(app)
        browser = httpx.AsyncClient(transport=transport, base_url="http://test")
        async with app.router.lifespan_context(app), browser:
            await browser.get("/call")
            await browser.get("/stream")

    run(browse)
    called, streamed = telemetry.spans

    assert called.parent is not None
    assert Told(streamed)["gen_ai.request.stream"]
    assert Told(streamed)["gen_ai.response.finish_reasons"] == ("stop",)
