"""A picture of the trace of a stream that is refused twice, then answered.

    python -m tests.benchmarks.trace_picture docs/images/trace.svg

It draws the spans that OpenTelemetry's SDK recorded of a call to a local DashScope.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from html import escape
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llama_dashscope import Client, Retry
from llama_dashscope.otel import instrument, uninstrument
from llama_dashscope.testing import LocalDashScope, RateLimited, Reply

MODEL = "llama3.3-70b-instruct"
QUESTION = "介绍一下自己"
WIDTH, MARGIN, BAR, LINE = 760, 24, 26, 18
SHOWN = (
    "gen_ai.provider.name",
    "gen_ai.request.stream",
    "gen_ai.response.time_to_first_chunk",
    "gen_ai.response.finish_reasons",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "http.request.resend_count",
)


def record() -> list[ReadableSpan]:
    """Make the call inside a span of the program's, and return both spans, the outer one first."""
    random.seed(4)  # with this seed, the two retry delays differ visibly
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrument(tracer_provider=provider)
    with LocalDashScope() as server:
        client = Client(server.api_key, base_url=server.base_url, retry=Retry(base=1.0))
        client.call(MODEL, QUESTION)  # opens the connection
        exporter.clear()
        server.fault(RateLimited(), times=2)
        server.reply(Reply(pieces=list("我是Llama，一个语言模型。"), tokens_per_second=20))
        outer = provider.get_tracer("shop").start_as_current_span("POST /chat")
        with client, outer, client.stream(MODEL, QUESTION) as stream:
            stream.read()
    uninstrument()
    return list(reversed(exporter.get_finished_spans()))


def text(x: float, y: float, words: str, more: str = "") -> str:
    """Return text at a position."""
    return f'<text x="{x:.0f}" y="{y:.0f}" {more}>{escape(words)}</text>'


def bars(spans: list[ReadableSpan]) -> Iterator[str]:
    """Draw each span as a bar, with its events and its first chunk on it."""
    began, ended = spans[0].start_time or 0, spans[0].end_time or 1
    scale = (WIDTH - 2 * MARGIN) / (ended - began)

    def place(time: int) -> float:
        return MARGIN + (time - began) * scale

    for row, span in enumerate(spans):
        y, left = MARGIN + row * (BAR + 30), place(span.start_time or 0)
        width = place(span.end_time or 0) - left
        seconds = ((span.end_time or 0) - (span.start_time or 0)) / 1e9
        colour = ("#9aa3ad", "#0b7a75")[row]
        yield text(left, y + 10, f"{span.name}  {seconds:.2f} s", 'font-weight="600"')
        size = f'width="{width:.1f}" height="{BAR - 8}"'
        yield f'<rect x="{left:.1f}" y="{y + 16}" {size} fill="{colour}"/>'
        for number, event in enumerate(span.events):
            x = place(event.timestamp)
            yield f'<circle cx="{x:.1f}" cy="{y + 25}" r="6" fill="#d9534f" stroke="#ffffff"/>'
            told = event.attributes or {}
            pause = float(str(told["llama_dashscope.retry.pause"]))
            words = f"{told['error.type']!s}, again in {pause:.2f} s"
            yield text(x, y + 50 + 16 * number, words, 'font-size="11"')
        first = (span.attributes or {}).get("gen_ai.response.time_to_first_chunk")
        if first is not None:
            x = place((span.start_time or 0) + int(float(str(first)) * 1e9))
            yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y + 12}" y2="{y + 38}" stroke="#24292f"/>'
            yield text(x + 4, y + 50, "first chunk", 'font-size="11"')


def attributes(span: ReadableSpan, top: float) -> Iterator[str]:
    """List the span's attributes."""
    for row, name in enumerate(SHOWN):
        value = (span.attributes or {})[name]
        shown = f"{value:.2f}" if isinstance(value, float) else str(value)
        y = top + row * LINE
        yield text(MARGIN, y, name, 'font-family="monospace" fill="#57606a"')
        yield text(MARGIN + 330, y, shown, 'font-family="monospace"')


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    spans = record()
    top = MARGIN + len(spans) * (BAR + 30) + 40
    drawn = [*bars(spans), *attributes(spans[-1], top)]
    height = top + len(SHOWN) * LINE + 4
    parser.parse_args().picture.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#24292f">\n'
        "<title>The trace of a stream that was refused twice</title>\n"
        '<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join(drawn) + "\n</svg>\n",
        "utf-8",
    )


if __name__ == "__main__":
    main()
