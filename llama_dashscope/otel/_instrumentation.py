"""`instrument` and `uninstrument`, and the class that `opentelemetry-instrument` loads."""

import os
import threading
from typing import Any, Final

from opentelemetry import metrics, trace

from llama_dashscope import __version__, add_observer, remove_observer

from ._content import VARIABLE, CaptureContent
from ._events import DetailsLogger
from ._metrics import ClientMetrics
from ._spans import CallTracer

__all__ = ["LlamaDashScopeInstrumentor", "instrument", "uninstrument"]

SCOPE: Final = "llama_dashscope"

_changing: Final = threading.Lock()
_current: list[CallTracer] = []


def instrument(
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
    logger_provider: Any = None,
    capture_content: str | None = None,
    propagate: bool = False,
) -> None:
    """Record a span and measurements of every call of this process; the last settings hold.

    Args:
        tracer_provider: where spans go; by default the program's.
        meter_provider: where measurements go; by default the program's.
        logger_provider: where events with messages go, an `opentelemetry._logs.LoggerProvider`; by
            default the program's.
        capture_content: where messages are recorded: `NO_CONTENT`, `SPAN_ONLY`, `EVENT_ONLY` or
            `SPAN_AND_EVENT`; by default what OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT
            says, else nowhere.
        propagate: whether the service is told the trace, by the header `traceparent`.
    """
    source = VARIABLE if capture_content is None else "capture_content"
    given = os.environ.get(VARIABLE) if capture_content is None else capture_content
    content = CaptureContent.of(given, source)
    tracer = CallTracer(
        trace.get_tracer(SCOPE, __version__, tracer_provider),
        ClientMetrics(metrics.get_meter(SCOPE, __version__, meter_provider)),
        DetailsLogger(SCOPE, __version__, logger_provider) if content.as_event else None,
        content_on_span=content.on_span,
        propagate=propagate,
    )
    with _changing:
        _forget()
        _current.append(tracer)
        add_observer(tracer)


def uninstrument() -> None:
    """Record no further calls; those that are under way are recorded to their end."""
    with _changing:
        _forget()


def _forget() -> None:
    while _current:
        remove_observer(_current.pop())


class LlamaDashScopeInstrumentor:
    """What the entry point `opentelemetry_instrumentor` names; it does what `instrument` does."""

    def instrument(self, **options: Any) -> None:
        """Begin; keywords that are not those of `instrument` are for other instrumentors."""
        known = ("tracer_provider", "meter_provider", "logger_provider")
        instrument(**{name: options[name] for name in known if name in options})

    def uninstrument(self, **options: Any) -> None:
        """End; see `uninstrument`."""
        del options
        uninstrument()
