"""What spans, measurements and events say, in the conventions' names, and what they never say."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import pytest
from client_matrix import MODEL
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes

from llama_dashscope import Client
from llama_dashscope.otel import LlamaDashScopeInstrumentor, _names, instrument, uninstrument
from llama_dashscope.otel._content import VARIABLE
from llama_dashscope.testing import LocalDashScope, RateLimited, Reply, Stall, ToolCall

from .conftest import Telemetry, Told

METRICS = (
    *(_names.DURATION, _names.TOKEN_USAGE),
    *(_names.TIME_TO_FIRST_CHUNK, _names.TIME_PER_OUTPUT_CHUNK),
)
WEATHER: dict[str, Any] = {"type": "function", "function": {"name": "weather", "parameters": {}}}


def test_the_names_are_the_conventions() -> None:
    """Each name is one of the installed package opentelemetry-semantic-conventions."""
    developing = "opentelemetry.semconv._incubating"
    gen_ai_attributes = import_module(f"{developing}.attributes.gen_ai_attributes")
    gen_ai_metrics = import_module(f"{developing}.metrics.gen_ai_metrics")
    modules = (gen_ai_attributes, error_attributes, http_attributes, server_attributes)
    known = {value for each in modules for value in vars(each).values() if isinstance(value, str)}
    metrics = {value for value in vars(gen_ai_metrics).values() if isinstance(value, str)}

    assert set(_names.ATTRIBUTES) - known == set()
    assert set(METRICS) <= metrics
    assert set(_names.REQUEST.values()) <= set(_names.ATTRIBUTES)


def test_all_that_is_recorded_has_these_names(
    telemetry: Telemetry, client: Client, server: LocalDashScope
) -> None:
    """Names are of the conventions or begin with the package's."""
    telemetry.instrument(capture_content="SPAN_AND_EVENT")
    server.fault(RateLimited())
    client.call(
        MODEL, "hi", temperature=0.5, top_p=0.9, top_k=5, seed=1, max_tokens=9, n=2, stop=["x"]
    )
    server.fault(Stall(1))
    with client.stream(MODEL, "hi", presence_penalty=1, stop="x") as stream:
        next(stream)
    told = [span.attributes for span in telemetry.spans]
    told += [event.attributes for span in telemetry.spans for event in span.events]
    told += [point.attributes for each in METRICS for point in telemetry.points(each)]
    told += [event.attributes for event in telemetry.events]
    used = {name for each in told for name in each or ()}
    own = {name for name in used if name.startswith("llama_dashscope.")}

    assert used - own == set(_names.ATTRIBUTES)
    assert own == {"llama_dashscope.retry.pause", "llama_dashscope.left_early"}


def test_a_span(telemetry: Telemetry, client: Client, server: LocalDashScope) -> None:
    """It says what was asked for, who was asked, and what came of it."""
    reply = client.call(MODEL, "hi", temperature=0.5, stop=["x"], n=1)
    told = Told(telemetry.span)

    assert told.span.name == f"chat {MODEL}"
    assert reply.usage is not None
    assert dict(told.span.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "dashscope",
        "gen_ai.request.model": MODEL,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.stop_sequences": ("x",),
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.id": reply.request_id,
        "gen_ai.usage.input_tokens": reply.usage.input_tokens,
        "gen_ai.usage.output_tokens": reply.usage.output_tokens,
        "server.address": "127.0.0.1",
        "server.port": int(server.base_url.split(":")[2].split("/")[0]),
    }


def test_measurements(telemetry: Telemetry, client: Client, server: LocalDashScope) -> None:
    """Time, tokens, the first chunk, and the chunks after it."""
    server.reply(Reply(pieces=list("abcdef"), tokens_per_second=200))
    with client.stream(MODEL, "hi") as stream:
        answer = stream.read()
    duration = telemetry.point(_names.DURATION)  # first: exemplars are read once
    first, per_chunk = (telemetry.point(each) for each in METRICS[2:])
    points = telemetry.points(_names.TOKEN_USAGE)
    tokens = {str((each.attributes or {})["gen_ai.token.type"]): each for each in points}

    assert answer.usage is not None
    assert tokens["input"].sum == answer.usage.input_tokens
    assert tokens["output"].sum == answer.usage.output_tokens == 6
    assert duration.count == first.count == per_chunk.count == 1
    assert 0 < first.sum < duration.sum
    assert first.sum == Told(telemetry.span)["gen_ai.response.time_to_first_chunk"]
    assert 0 < per_chunk.sum < duration.sum
    assert duration.explicit_bounds[0] == 0.01
    assert duration.explicit_bounds[-1] == 81.92
    assert tokens["input"].explicit_bounds[-1] == 67108864
    assert [each.span_id for each in duration.exemplars] == [Told(telemetry.span).context.span_id]


def test_measurements_of_a_failure(
    telemetry: Telemetry, client: Client, server: LocalDashScope
) -> None:
    """Its duration has the error, and there is nothing else to measure."""
    server.fault(RateLimited(), times=None)
    with pytest.raises(Exception, match="429"):
        client.call(MODEL, "hi")

    assert (telemetry.point(_names.DURATION).attributes or {})[
        "error.type"
    ] == "Throttling.RateQuota"
    assert telemetry.points(_names.TOKEN_USAGE) == []
    assert telemetry.points(_names.TIME_TO_FIRST_CHUNK) == []


def test_no_content_by_default(
    telemetry: Telemetry, client: Client, server: LocalDashScope
) -> None:
    """Neither what was asked, nor what was answered, nor the key."""
    server.reply("an answer")
    client.call(MODEL, "a question")
    text = telemetry.span.to_json() + repr(telemetry.points(_names.DURATION))

    assert "question" not in text
    assert "an answer" not in text
    assert server.api_key not in text
    assert telemetry.events == []


@pytest.mark.parametrize(
    ("setting", "places"),
    [
        ("span_only", ["span"]),
        ("EVENT_ONLY", ["event"]),
        ("SPAN_AND_EVENT", ["span", "event"]),
        ("NO_CONTENT", []),
    ],
)
def test_content(
    telemetry: Telemetry,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    places: list[str],
) -> None:
    """Messages go where the variable says; the event belongs to the span."""
    monkeypatch.setenv(VARIABLE, setting)
    telemetry.instrument()
    client.call(MODEL, "a question")
    found = [(event.event_name, event.span_id) for event in telemetry.events]

    assert ("gen_ai.input.messages" in Told(telemetry.span)) == ("span" in places)
    assert found == [(_names.DETAILS, Told(telemetry.span).context.span_id)] * ("event" in places)


def test_messages(telemetry: Telemetry, client: Client, server: LocalDashScope) -> None:
    """They have a role and parts, as the conventions write them."""
    telemetry.instrument(capture_content="SPAN_ONLY")
    server.reply([ToolCall("weather", {"city": "上海"}), "sunny"])
    question = {"role": "user", "content": "weather?"}
    client.call(
        MODEL, messages=[{"role": "system", "content": "be kind"}, question], tools=[WEATHER]
    )
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{"}}
    client.call(
        MODEL,
        messages=[
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "21", "tool_call_id": "c1"},
        ],
    )
    first, second = (Told(span) for span in telemetry.spans)
    [answer] = json.loads(first["gen_ai.output.messages"])

    assert json.loads(first["gen_ai.input.messages"]) == [
        {"role": "system", "parts": [{"type": "text", "content": "be kind"}]},
        {"role": "user", "parts": [{"type": "text", "content": "weather?"}]},
    ]
    assert (answer["role"], answer["finish_reason"]) == ("assistant", "tool_calls")
    assert answer["parts"][0]["type"] == "tool_call"
    assert answer["parts"][0]["arguments"] == {"city": "上海"}
    assert json.loads(second["gen_ai.input.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c1", "name": "weather", "arguments": "{"}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "21"}]},
    ]
    assert json.loads(second["gen_ai.output.messages"])[0]["parts"] == [
        {"type": "text", "content": "sunny"}
    ]


def test_reasoning_and_a_failure_without_an_answer(
    telemetry: Telemetry, client: Client, server: LocalDashScope
) -> None:
    """What a model thought is a part of its own; where no answer came, none is recorded."""
    from llama_dashscope import Choice, Message, Output, Response
    from llama_dashscope.otel._content import input_messages, output_messages

    telemetry.instrument(capture_content="SPAN_ONLY")
    server.fault(RateLimited(), times=None)
    with pytest.raises(Exception, match="429"):
        client.call(MODEL, "hi")
    thinking = Message("assistant", "4", extra={"reasoning_content": "2+2"})
    pictured = {"role": "user", "content": [{"image": "https://example/cat.png"}]}

    assert json.loads(Told(telemetry.span)["gen_ai.output.messages"]) == []
    assert output_messages(Response(output=Output(choices=(Choice("stop", thinking),)))) == [
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "2+2"},
                {"type": "text", "content": "4"},
            ],
            "finish_reason": "stop",
        }
    ]
    assert input_messages({"messages": [pictured]}) == [
        {
            "role": "user",
            "parts": [{"type": "text", "content": '[{"image": "https://example/cat.png"}]'}],
        }
    ]


def test_a_setting_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """It records nothing, and says so."""
    monkeypatch.setenv(VARIABLE, "yes please")
    with pytest.warns(UserWarning, match=f"{VARIABLE} must be one of NO_CONTENT, SPAN_ONLY"):
        instrument()
    uninstrument()


def test_a_setting_that_is_no_string() -> None:
    """It is refused, and what was recorded before still is."""
    untyped: Any = 5

    with pytest.raises(TypeError, match="capture_content must be a string"):
        instrument(capture_content=untyped)


def test_the_service_is_told_the_trace_only_on_request(
    telemetry: Telemetry, client: Client, server: LocalDashScope
) -> None:
    """Traceparent is off by default; on, it names the call's span."""
    client.call(MODEL, "hi")
    telemetry.instrument(propagate=True)
    client.call(MODEL, "hi")
    silent, told = (each.headers.get("traceparent") for each in server.requests)
    context = Told(telemetry.spans[1]).context

    assert silent is None
    assert told == f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    assert "baggage" not in server.requests[1].headers


def test_once_however_often(telemetry: Telemetry, client: Client) -> None:
    """Instrument twice is one span a call; uninstrument is none."""
    telemetry.instrument()
    client.call(MODEL, "hi")

    assert len(telemetry.spans) == 1

    uninstrument()
    uninstrument()
    client.call(MODEL, "hi")

    assert len(telemetry.spans) == 1


def test_the_entry_point(telemetry: Telemetry, client: Client) -> None:
    """opentelemetry-instrument finds a class that begins and ends it."""
    [found] = entry_points(group="opentelemetry_instrumentor", name="llama_dashscope")
    uninstrument()
    made = found.load()()
    assert isinstance(made, LlamaDashScopeInstrumentor)

    made.instrument(tracer_provider=telemetry.tracers, skip_dep_check=True)
    client.call(MODEL, "hi")
    made.uninstrument(skip_dep_check=True)
    client.call(MODEL, "hi")

    assert telemetry.span.name == f"chat {MODEL}"


def test_an_unsampled_call_is_measured(client: Client) -> None:
    """Spans that nobody records cost no attributes; measurements are made all the same."""
    from opentelemetry import trace

    telemetry = Telemetry()
    instrument(tracer_provider=trace.NoOpTracerProvider(), meter_provider=telemetry.meters)
    client.call(MODEL, "hi")
    uninstrument()

    assert telemetry.point(_names.DURATION).count == 1


def test_the_package_brings_no_opentelemetry() -> None:
    """It is imported with llama_dashscope.otel."""
    code = (
        "import sys, llama_dashscope;"
        "assert not [m for m in sys.modules if m.startswith('opentelemetry')];"
        "import llama_dashscope.otel; assert 'opentelemetry.trace' in sys.modules;"
        "assert not [m for m in sys.modules if m.startswith('opentelemetry.sdk')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without OpenTelemetry's interface the import says what to install."""
    for name in [each for each in sys.modules if each.startswith("llama_dashscope.otel")]:
        monkeypatch.delitem(sys.modules, name)
    absent: Any = None
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", absent)

    with pytest.raises(ImportError, match=r"llama-dashscope\[otel\]"):
        __import__("llama_dashscope.otel")
