"""One span per call: an observer that starts it, adds events for retries, and always ends it.

The span is never made the current one: a stream may end in a different task than it began in, and a
context that is attached in one task can't be detached in another.
"""

import json
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, Final, cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from llama_dashscope import AttemptEnd, CallEnd, CallObserver, DashScopeError, ObservedCall

from ._content import input_messages, output_messages
from ._events import DetailsLogger
from ._metrics import ClientMetrics
from ._names import REQUEST

__all__ = ["CallTracer"]

PROVIDER: Final = "dashscope"
"""Our own name for the service; the conventions define none."""

RETRY: Final = "llama_dashscope.retry"
"""The event of a failed attempt that is followed by another."""


class CallTracer:
    """Starts a span for each call.

    Args:
        tracer: makes the spans.
        metrics: records the metrics.
        details: emits an event with the messages of each call; None for no events.
        content_on_span: whether spans have the messages.
        propagate: whether the trace is sent to the service.
    """

    def __init__(
        self,
        tracer: trace.Tracer,
        metrics: ClientMetrics,
        details: DetailsLogger | None,
        *,
        content_on_span: bool,
        propagate: bool,
    ) -> None:
        """Take the providers and the settings."""
        self.metrics = metrics
        self.details = details
        self.content_on_span = content_on_span
        self.propagate = propagate
        self._tracer = tracer

    def call_started(self, call: ObservedCall) -> CallObserver:
        """Start the span of a call, as a child of the caller's current span."""
        host, port = call.address
        measured: dict[str, str | int] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.request.model": call.model,
            "server.address": host,
            "server.port": port,
        }
        span = self._tracer.start_span(
            f"chat {call.model}",
            kind=trace.SpanKind.CLIENT,
            attributes={**measured, **_request_attributes(call)},
        )
        return _TracedCall(self, call, span, measured)


class _TracedCall(CallObserver):
    """The span and the metrics of one call."""

    def __init__(
        self,
        owner: CallTracer,
        call: ObservedCall,
        span: trace.Span,
        measured: dict[str, str | int],
    ) -> None:
        self._owner = owner
        self._call = call
        self._span = span
        self._measured = measured
        self._began = self._latest = perf_counter()
        self._first: float | None = None
        self._chunks = 0
        self._attempts = 0

    def request_headers(self) -> Mapping[str, str]:
        """If `propagate` is set, return the trace header, and nothing else of the context."""
        headers: dict[str, str] = {}
        if self._owner.propagate:
            TraceContextTextMapPropagator().inject(headers, self._context())
        return headers

    def attempt_ended(self, attempt: AttemptEnd) -> None:
        """Add an event if the attempt is followed by a retry."""
        self._attempts = attempt.number
        if attempt.pause is None or attempt.error is None:
            return
        attributes: dict[str, AttributeValue] = {
            "error.type": _error_type(attempt.error),
            "http.request.resend_count": attempt.number,
            "llama_dashscope.retry.pause": attempt.pause,
        }
        if attempt.status is not None:
            attributes["http.response.status_code"] = attempt.status
        if attempt.request_id:
            attributes["gen_ai.response.id"] = attempt.request_id
        self._span.add_event(RETRY, attributes)

    def chunks_arrived(self, count: int) -> None:
        """Note the time, and count the chunks."""
        self._latest = perf_counter()
        if self._first is None:
            self._first = self._latest
        self._chunks += count

    def call_ended(self, end: CallEnd) -> None:
        """End the span and record the metrics."""
        seconds = perf_counter() - self._began
        failure = None if end.left_early else end.error
        try:
            if self._span.is_recording():
                self._describe(end)
            if failure is not None:
                self._measured["error.type"] = _error_type(failure)
                self._span.set_attribute("error.type", _error_type(failure))
                # Without the message, which may quote an unreadable answer.
                self._span.set_status(trace.StatusCode.ERROR, type(failure).__name__)
            self._record(seconds, end)
            if self._owner.details is not None:
                self._owner.details.emit(self._details(end), self._context())
        finally:
            self._span.end()

    def _describe(self, end: CallEnd) -> None:
        """Set the attributes that are known at the end."""
        attributes: dict[str, AttributeValue] = {}
        if end.usage is not None:
            attributes["gen_ai.usage.input_tokens"] = end.usage.input_tokens
            attributes["gen_ai.usage.output_tokens"] = end.usage.output_tokens
        if end.request_id:
            attributes["gen_ai.response.id"] = end.request_id
        if end.finish_reasons:
            attributes["gen_ai.response.finish_reasons"] = end.finish_reasons
        if self._first is not None:
            attributes["gen_ai.response.time_to_first_chunk"] = self._first - self._began
        if self._attempts > 1:
            attributes["http.request.resend_count"] = self._attempts - 1
        if end.left_early:
            attributes["llama_dashscope.left_early"] = True
        if self._owner.content_on_span:
            attributes["gen_ai.input.messages"] = _json(input_messages(self._call.read_input()))
            attributes["gen_ai.output.messages"] = _json(output_messages(end.read_response()))
        self._span.set_attributes(attributes)

    def _record(self, seconds: float, end: CallEnd) -> None:
        metrics, measured, context = self._owner.metrics, self._measured, self._context()
        metrics.record_duration(seconds, measured, context)
        if end.usage is not None:
            metrics.record_usage(end.usage, measured, context)
        if self._first is None:
            return
        metrics.record_first_chunk(self._first - self._began, measured, context)
        if self._chunks > 1:
            mean = (self._latest - self._first) / (self._chunks - 1)
            metrics.record_chunks(mean, measured, context)

    def _details(self, end: CallEnd) -> dict[str, Any]:
        return {
            **self._measured,
            "gen_ai.input.messages": input_messages(self._call.read_input()),
            "gen_ai.output.messages": output_messages(end.read_response()),
        }

    def _context(self) -> Context:
        return trace.set_span_in_context(self._span, Context())


def _request_attributes(call: ObservedCall) -> dict[str, AttributeValue]:
    """Return the attributes of a request, without its messages."""
    attributes: dict[str, AttributeValue] = (
        {"gen_ai.request.stream": True} if call.streaming else {}
    )
    for name, value in call.parameters.items():
        if name in REQUEST and isinstance(value, int | float):
            attributes[REQUEST[name]] = value
    count = call.parameters.get("n")
    if isinstance(count, int) and count != 1:
        attributes["gen_ai.request.choice.count"] = count
    if stops := _stop_sequences(call.parameters.get("stop")):
        attributes["gen_ai.request.stop_sequences"] = stops
    return attributes


def _stop_sequences(stop: object) -> Sequence[str]:
    """Return the stop sequences that are strings; the service also accepts token ids."""
    if isinstance(stop, str):
        return (stop,)
    if isinstance(stop, list | tuple):
        return tuple(each for each in cast("Sequence[object]", stop) if isinstance(each, str))
    return ()


def _error_type(error: BaseException) -> str:
    """Return the service's error code, or else the name of the error's class."""
    code = error.code if isinstance(error, DashScopeError) else ""
    return code or type(error).__name__


def _json(messages: list[dict[str, Any]]) -> str:
    return json.dumps(messages, ensure_ascii=False)
