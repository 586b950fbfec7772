"""What OpenTelemetry's SDK was told in a test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, Tracer

from llama_dashscope import Client, Retry
from llama_dashscope.otel import instrument, uninstrument
from llama_dashscope.testing import LocalDashScope


class Telemetry:
    """An SDK that keeps what it is told."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        exporter: Any = InMemoryLogRecordExporter  # its constructor has no types
        self._events = exporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meters = MeterProvider([self._metrics])
        self.loggers = LoggerProvider()
        self.loggers.add_log_record_processor(SimpleLogRecordProcessor(self._events))

    def instrument(self, **options: Any) -> None:
        """Have calls recorded here."""
        instrument(
            tracer_provider=self.tracers,
            meter_provider=self.meters,
            logger_provider=self.loggers,
            **options,
        )

    @property
    def tracer(self) -> Tracer:
        """What a program makes its own spans with."""
        return self.tracers.get_tracer("test")

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans of calls that have ended, in the order of their ends."""
        return [each for each in self._spans.get_finished_spans() if each.name.startswith("chat ")]

    @property
    def span(self) -> ReadableSpan:
        """The only one."""
        [span] = self.spans
        return span

    @property
    def events(self) -> list[Any]:
        """Events that are no span's."""
        return [each.log_record for each in self._events.get_finished_logs()]

    def points(self, name: str) -> list[HistogramDataPoint]:
        """Return the histograms of a metric, one for each set of attributes."""
        data = self._metrics.get_metrics_data()
        found: list[HistogramDataPoint] = []
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == name:
                        points: Any = metric.data.data_points
                        found += points
        return found

    def point(self, name: str) -> HistogramDataPoint:
        """Return the only one."""
        [point] = self.points(name)
        return point


@attrs.frozen
class Told:
    """A span's attributes, of which each is there."""

    span: ReadableSpan

    def __getitem__(self, name: str) -> Any:
        assert self.span.attributes is not None
        return self.span.attributes[name]

    @property
    def context(self) -> SpanContext:
        """What identifies the span."""
        context: SpanContext | None = self.span.context
        assert context is not None
        return context

    def __contains__(self, name: str) -> bool:
        return name in (self.span.attributes or {})


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Record all calls of a test."""
    made = Telemetry()
    made.instrument()
    yield made
    uninstrument()


@pytest.fixture
def client(server: LocalDashScope) -> Iterator[Client]:
    """Make a client that does not wait between tries."""
    with Client(server.api_key, base_url=server.base_url, retry=Retry(base=0)) as made:
        yield made
