"""`instrument` and `uninstrument`, and the class that `opentelemetry-instrument` loads."""

import os
import threading
from typing import Any, Final, cast

from opentelemetry import metrics, trace

from llama_dashscope import __version__, add_observer, remove_observer

from ._content import VARIABLE, CaptureContent
from ._events import DetailsLogger
from ._metrics import ClientMetrics
from ._spans import CallTracer

__all__ = ["LlamaDashScopeInstrumentor", "instrument", "uninstrument"]

SCOPE: Final = "llama_dashscope"

_lock: Final = threading.Lock()
_current: list[CallTracer] = []


def instrument(
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
    logger_provider: Any = None,
    capture_content: str | None = None,
    propagate: bool = False,
) -> None:
    """Record a span and metrics of every call in this process; call it again to change settings.

    Args:
        tracer_provider: the provider for spans; by default the program's.
        meter_provider: the provider for metrics; by default the program's.
        logger_provider: the provider for events with messages, an
            `opentelemetry._logs.LoggerProvider`; by default the program's.
        capture_content: where messages are recorded: `NO_CONTENT`, `SPAN_ONLY`, `EVENT_ONLY` or
            `SPAN_AND_EVENT`; by default from OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT,
            else `NO_CONTENT`.
        propagate: whether the trace is sent to the service, in the header `traceparent`.

    Raises:
        TypeError: `capture_content` is not a string.
    """
    if capture_content is not None and not isinstance(cast("object", capture_content), str):
        kind = type(capture_content).__name__
        raise TypeError(f"capture_content must be a string, such as 'SPAN_ONLY', got {kind}")
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
    with _lock:
        _remove_current()
        _current.append(tracer)
        add_observer(tracer)


def uninstrument() -> None:
    """Record no further calls; calls in progress are still recorded to their end."""
    with _lock:
        _remove_current()


def _remove_current() -> None:
    while _current:
        remove_observer(_current.pop())


class LlamaDashScopeInstrumentor:
    """The class of the entry point `opentelemetry_instrumentor`; it calls `instrument`."""

    def instrument(self, **options: Any) -> None:
        """Call `instrument` with the providers; other keywords are ignored."""
        known = ("tracer_provider", "meter_provider", "logger_provider")
        instrument(**{name: options[name] for name in known if name in options})

    def uninstrument(self, **options: Any) -> None:
        """Call `uninstrument`; keywords are ignored."""
        del options
        uninstrument()
