"""The cost of observers: without any, and with OpenTelemetry and its SDK.

A transport in this process answers calls and streams without a socket, so that the rest of a call
is as cheap as it can be. Rounds with and without observers alternate. Bars: 1 % of a call if there
are no observers; with the SDK, 100 us per call and 1 us per chunk.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib.metadata import version
from time import process_time

import httpx
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, set_span_in_context

from llama_dashscope import Client
from llama_dashscope._client.observer import watch
from llama_dashscope._protocol.request import Payload
from llama_dashscope.otel import instrument, uninstrument

KEY = "sk-0123456789abcdef0123456789abcdef"
"""As long as real ones: redaction has a slower path for very short secrets."""

MODEL = "llama3.3-70b-instruct"
USAGE = {"input_tokens": 16, "output_tokens": 2, "total_tokens": 18}
OFF_BAR, CALL_BAR, CHUNK_BAR = 0.01, 100.0, 1.0


def frame(text: str, reason: str) -> bytes:
    """Write an answer, or a frame of one."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": reason}
    said = {"output": {"choices": [choice]}, "usage": USAGE, "request_id": "r"}
    return json.dumps(said, ensure_ascii=False).encode()


class Frames(httpx.AsyncByteStream):
    """A stream whose frames come one by one."""

    def __init__(self, count: int) -> None:
        """Write the frames."""
        reasons = ["null"] * (count - 1) + ["stop"]
        head = b"id:1\nevent:result\n:HTTP_STATUS/200\ndata:"
        self._frames = [head + frame("词", each) + b"\n\n" for each in reasons]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give each frame by itself."""
        for each in self._frames:
            yield each


class Canned(httpx.AsyncBaseTransport):
    """Answers in this process."""

    def __init__(self, chunks: int) -> None:
        """Write the answers."""
        self._whole = frame("词", "stop")
        self._frames = Frames(chunks)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a call or a stream."""
        if "x-dashscope-sse" in request.headers:
            kind = {"content-type": "text/event-stream"}
            return httpx.Response(200, headers=kind, stream=self._frames)
        return httpx.Response(200, content=self._whole)


class Nowhere(SpanExporter):
    """Takes spans and does nothing with them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take them."""
        del spans
        return SpanExportResult.SUCCESS


async def cost(job: Callable[[], Awaitable[object]], times: int) -> float:
    """Return the microseconds of CPU time that a job takes."""
    began = process_time()
    for _ in range(times):
        await job()
    return (process_time() - began) / times * 1e6


async def pairs(
    job: Callable[[], Awaitable[object]], times: int, rounds: int, listen: Callable[[], None]
) -> tuple[float, float]:
    """Return a job's cost without observers, and their extra cost, each the least of its rounds."""
    without, listened = list[float](), list[float]()
    for _ in range(rounds + 1):
        without.append(await cost(job, times))
        listen()
        listened.append(await cost(job, times))
        uninstrument()
    return min(without[1:]), min(listened[1:]) - min(without[1:])


async def sdk_alone(tracers: TracerProvider, meters: MeterProvider, times: int) -> float:
    """Return the microseconds that the SDK takes for one call: a span and three measurements."""
    tracer, meter = tracers.get_tracer("bare"), meters.get_meter("bare")
    duration, tokens = meter.create_histogram("duration"), meter.create_histogram("tokens")
    measured: dict[str, str | int] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "dashscope",
        "gen_ai.request.model": MODEL,
        "server.address": "h",
        "server.port": 443,
    }

    async def job() -> None:
        span = tracer.start_span("chat", kind=SpanKind.CLIENT, attributes=measured)
        context = set_span_in_context(span, Context())
        span.set_attributes(
            {
                "gen_ai.usage.input_tokens": 16,
                "gen_ai.usage.output_tokens": 2,
                "gen_ai.response.id": "r",
                "gen_ai.response.finish_reasons": ("stop",),
            }
        )
        duration.record(0.1, measured, context)
        tokens.record(16, {**measured, "gen_ai.token.type": "input"}, context)
        tokens.record(2, {**measured, "gen_ai.token.type": "output"}, context)
        span.end()

    return min([await cost(job, times) for _ in range(10)])


async def measure(calls: int, chunks: int, rounds: int) -> list[float]:
    """Return the microseconds of each line of the report."""
    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(Nowhere()))
    meters = MeterProvider([InMemoryMetricReader()])

    def listen() -> None:
        instrument(tracer_provider=tracers, meter_provider=meters)

    async with Client(KEY, base_url="https://h/api/v1", transport=Canned(chunks)) as client:

        async def call() -> None:
            await client.acall(MODEL, "hi")

        async def stream() -> None:
            async with client.astream(MODEL, "hi") as opened:
                await opened.aread()

        async def nobody() -> None:
            for _ in range(1000):
                watch("https://h/api/v1", payload)

        payload = Payload(b"{}", streaming=False, incremental=True, choices=1)
        a_call, more_a_call = await pairs(call, calls, rounds, listen)
        _, more_a_stream = await pairs(stream, max(1, calls // 50), rounds, listen)
        off = await cost(nobody, 20) / 1000
    alone = await sdk_alone(tracers, meters, calls)
    tracers.shutdown()
    return [a_call, off, more_a_call, (more_a_stream - more_a_call) / chunks, alone]


def main() -> None:
    """Print the figures, and fail if one exceeds its bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=500, help="calls in a round")
    parser.add_argument("--chunks", type=int, default=500, help="chunks of a stream")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    a_call, off, call, chunk, alone = asyncio.run(
        measure(options.calls, options.chunks, options.rounds)
    )
    print(f"a call without a socket   {a_call:8.1f} us")
    print(f"nobody listens            {off:8.2f} us a call   bar {OFF_BAR:.0%} of a call")
    print(f"OpenTelemetry, its SDK    {call:8.1f} us a call   bar {CALL_BAR:g}")
    print(f"                          {chunk:8.2f} us a chunk  bar {CHUNK_BAR:g}")
    print(f"the SDK's own share       {alone:8.1f} us a call   SDK {version('opentelemetry-sdk')}")
    if off > OFF_BAR * a_call or call > CALL_BAR or chunk > CHUNK_BAR:
        sys.exit("an observer costs more than its bar")


if __name__ == "__main__":
    main()
