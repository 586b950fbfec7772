"""Streams as responses: what arrives in the browser, in each of the three forms."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra fastapi is not installed")

import anyio
import httpx
from fastapi import BackgroundTasks, FastAPI, Response
from starlette.background import BackgroundTask

from llama_dashscope import AsyncStream, Client, DashScopeError
from llama_dashscope.fastapi import (
    ClientDep,
    EventStream,
    JSONLines,
    TextStream,
    add_exception_handlers,
    lifespan,
)
from llama_dashscope.testing import (
    CutStream,
    ErrorFrame,
    LocalDashScope,
    Moderated,
    RateLimited,
    Raw,
    Reply,
    SlowStart,
    Stall,
    ToolCall,
)

from .conftest import browsing

MODEL = "llama3.3-70b-instruct"
UUID = r"[0-9a-f-]{36}"
HELLO = [{"role": "user", "content": "hello"}]
Form = type[EventStream] | type[JSONLines] | type[TextStream]
Beating = type[EventStream] | type[JSONLines]
FORMS: list[Form] = [EventStream, JSONLines, TextStream]

Answer = Callable[[AsyncStream], Response]


def events(text: str) -> list[dict[str, Any]]:
    """Read events as a browser does: by the fields that it knows, comments aside."""
    found: list[dict[str, Any]] = []
    for frame in text.split("\n\n"):
        fields = [line.partition(": ") for line in frame.split("\n") if line and line[0] != ":"]
        if fields:
            event: dict[str, Any] = {name: value for name, _, value in fields}
            found.append({**event, "data": json.loads(event["data"])})
    return found


async def browse(
    answer: Answer,
    *,
    headers: dict[str, str] | None = None,
    n: int | None = None,
    tools: list[dict[str, Any]] | None = None,
) -> httpx.Response:
    """Ask an application whose one handler answers with a stream."""
    app = FastAPI(lifespan=lifespan)
    add_exception_handlers(app)

    @app.get("/", response_model=None)
    async def page(client: ClientDep) -> Response:
        return answer(client.astream(MODEL, messages=HELLO, n=n, tools=tools))

    async with browsing(app) as browser:
        return await browser.get("/", headers=headers)


@pytest.mark.anyio
async def test_events_have_names_ids_and_data(server: LocalDashScope) -> None:
    """Each piece is a `message`, the end is `done` with what the service says of the answer."""
    server.reply(Reply(pieces=["你", "好\n", "\u2028!"], request_id="r-1"))
    reply = await browse(EventStream)
    *pieces, done = events(reply.text)

    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert [event["event"] for event in pieces] == ["message"] * 3
    assert [event["data"] for event in pieces] == [
        {"delta": delta} for delta in ["你", "好\n", "\u2028!"]
    ]
    assert [event["id"] for event in [*pieces, done]] == ["1", "2", "3", "4"]
    assert done["event"] == "done"
    assert done["data"]["finish_reason"] == "stop"
    assert done["data"]["usage"]["output_tokens"] > 0
    assert done["data"]["request_id"] == "r-1"


@pytest.mark.anyio
async def test_lines_hold_the_same_data(server: LocalDashScope) -> None:
    """JSON lines have the data of the events, a line each."""
    server.reply(Reply(pieces=["a", "b\n"]))
    reply = await browse(JSONLines)
    *pieces, done = [json.loads(line) for line in reply.text.splitlines()]

    assert reply.headers["content-type"] == "application/jsonl"
    assert pieces == [{"delta": "a"}, {"delta": "b\n"}]
    assert done["finish_reason"] == "stop"


@pytest.mark.anyio
@pytest.mark.parametrize("form", [EventStream, JSONLines])
async def test_numbers_that_no_browser_reads(server: LocalDashScope, form: Answer) -> None:
    """Python reads NaN and infinity in JSON, a browser doesn't: it gets null instead."""
    body = b'{"output":{"text":"\xe4\xbd\xa0"},"usage":{"input_tokens":5,"odd":[NaN,1e400]}}'
    server.reply(Raw((body,), headers={"content-type": "application/json"}))

    reply = await browse(form)

    assert '"odd":[null,null]' in reply.text
    assert '"delta":"你"' in reply.text


@pytest.mark.anyio
async def test_text_is_the_text(server: LocalDashScope) -> None:
    """Plain text is the answer and nothing else."""
    server.reply("你好, wie geht's?\n")
    reply = await browse(TextStream)

    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.text == "你好, wie geht's?\n"


@pytest.mark.anyio
@pytest.mark.parametrize("form", FORMS)
async def test_headers_keep_proxies_from_collecting(server: LocalDashScope, form: Answer) -> None:
    """Each form says what nginx, caches, compressors and sniffing browsers go by."""
    reply = await browse(form)

    assert reply.headers["cache-control"] == "no-store, no-transform"
    assert reply.headers["x-accel-buffering"] == "no"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert len(server.requests) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("form", FORMS)
async def test_status_and_headers_are_the_handlers(server: LocalDashScope, form: Form) -> None:
    """A handler may name another status and further headers, also in place of ours."""
    reply = await browse(
        lambda stream: form(stream, status_code=201, headers={"x-a": "b", "cache-control": "c"})
    )

    assert reply.status_code == 201
    assert (reply.headers["x-a"], reply.headers["cache-control"]) == ("b", "c")
    assert len(server.requests) == 1


@pytest.mark.anyio
async def test_several_answers_are_told_apart(server: LocalDashScope) -> None:
    """With `n` above 1, pieces say which answer they continue; plain text shows the first."""
    server.reply(Reply(pieces=["a", "b"]))
    pieces = events((await browse(EventStream, n=2)).text)[:-1]
    text = (await browse(TextStream, n=2)).text
    indices = [event["data"].get("index", 0) for event in pieces]

    assert sorted(set(indices)) == [0, 1]
    assert text == "".join(
        event["data"]["delta"] for event in pieces if not event["data"].get("index")
    )


@pytest.mark.anyio
async def test_tool_calls_arrive(server: LocalDashScope) -> None:
    """A piece of a tool call is passed on as the service sent it."""
    server.reply(ToolCall("weather", {"city": "Ulm"}))
    tools = [{"type": "function", "function": {"name": "weather"}}]
    *pieces, done = events((await browse(EventStream, tools=tools)).text)
    calls = [call for event in pieces for call in event["data"]["tool_calls"]]

    assert calls[0]["function"]["name"] == "weather"
    assert json.loads("".join(call["function"]["arguments"] for call in calls)) == {"city": "Ulm"}
    assert done["data"]["finish_reason"] == "tool_calls"


@pytest.mark.anyio
@pytest.mark.parametrize("form", FORMS)
async def test_a_refused_call_is_a_real_4xx(server: LocalDashScope, form: Answer) -> None:
    """The first piece is awaited before the status line: a refusal is a status, not an event."""
    server.fault(Moderated())
    reply = await browse(form)

    assert reply.status_code == 400
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["code"] == "DataInspectionFailed"


@pytest.mark.anyio
async def test_an_error_in_the_middle_is_an_event(server: LocalDashScope) -> None:
    """What fails after the first piece arrives as an event that says what and which call."""
    server.fault(ErrorFrame(after=1, status=400, code="DataInspectionFailed", message="no"))
    first, *_, error = events((await browse(EventStream)).text)

    assert first["event"] == "message"
    assert error["event"] == "error"
    assert re.fullmatch(UUID, error["data"].pop("request_id"))
    assert error["data"] == {"status": 400, "code": "DataInspectionFailed", "message": "no"}


@pytest.mark.anyio
async def test_a_cut_in_the_middle_is_a_line(server: LocalDashScope) -> None:
    """JSON lines end with an object of its own, without a word on hosts and sockets."""
    server.fault(CutStream(after=1, how="rst"))
    first, *_, error = [json.loads(line) for line in (await browse(JSONLines)).text.splitlines()]

    assert first["delta"]
    assert (error["error"]["status"], error["error"]["code"]) == (503, "ServiceUnavailable")
    assert "127.0.0.1" not in str(error)


@pytest.mark.anyio
@pytest.mark.parametrize("after", [1, 2])
async def test_an_error_in_plain_text_is_a_line_in_brackets(
    server: LocalDashScope, after: int
) -> None:
    """Text has no other way to say it: what was said so far, and a line."""
    server.reply(Reply(pieces=["one ", "two ", "three"]))
    server.fault(ErrorFrame(after=after, status=400, code="Code", message="no"))
    said, error, _ = (await browse(TextStream)).text.split("\n")

    assert said == "one two "[: 4 * after]
    assert re.fullmatch(rf"\[Code: no \(request_id {UUID}\)\]", error)


def test_an_error_without_request_id_says_none() -> None:
    """A line in brackets names a call only where the service named it."""
    from llama_dashscope.fastapi import Problem

    text = TextStream.failure(object.__new__(TextStream), Problem.of(DashScopeError("x")))

    assert text == b"\n[BadGateway: The model service gave no answer that can be used.]\n"


@pytest.mark.anyio
@pytest.mark.parametrize(("form", "beat"), [(EventStream, ":"), (JSONLines, "\n")])
async def test_the_heart_beats_while_the_model_thinks(
    server: LocalDashScope,
    form: Beating,
    beat: str,
) -> None:
    """Silence is filled with what readers skip, before the first piece and between two."""
    server.reply(Reply(pieces=["a", "b"]))
    server.fault(SlowStart(0.5))
    server.fault(Stall(after=1, seconds=0.5))
    early = (await browse(lambda stream: form(stream, heartbeat=0.05))).text
    amid = (await browse(lambda stream: form(stream, heartbeat=0.05))).text

    assert early.startswith(beat)
    assert amid.partition('"a"')[2].partition('"b"')[0].count(beat) > 1
    assert '"b"' in early


@pytest.mark.anyio
async def test_a_refusal_after_the_first_heartbeat_is_an_event(server: LocalDashScope) -> None:
    """Once the status line is sent, a refusal can only be an event."""
    server.fault(RateLimited(retry_after=0.3), times=None)
    reply = await browse(lambda stream: EventStream(stream, heartbeat=0.05))

    assert reply.status_code == 200
    assert reply.text.startswith(": ping")
    assert [(event["event"], event["data"]["status"]) for event in events(reply.text)] == [
        ("error", 429)
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("form", [EventStream, JSONLines])
async def test_a_heart_that_never_beats(server: LocalDashScope, form: Beating) -> None:
    """With `heartbeat=None` silence stays silence."""
    server.fault(SlowStart(0.2))
    reply = await browse(lambda stream: form(stream, heartbeat=None))

    assert ": ping" not in reply.text
    assert "\n\n\n" not in reply.text


@pytest.mark.parametrize("heartbeat", [0, -1, float("nan"), "5"])
def test_a_heart_that_cannot_beat(heartbeat: Any) -> None:
    """Silence of no length, or of none that is a number, is refused."""
    with Client("sk-x") as client, pytest.raises(ValueError, match="heartbeat must be more than 0"):
        EventStream(client.astream(MODEL, messages=HELLO), heartbeat=heartbeat)


@pytest.mark.anyio
async def test_an_eventsource_that_comes_back_is_sent_away(server: LocalDashScope) -> None:
    """An EventSource reconnects after the end; 204 stops it, and nothing is asked again."""
    reply = await browse(EventStream, headers={"Last-Event-ID": "7"})

    assert (reply.status_code, reply.content) == (204, b"")
    assert server.requests == []


@pytest.mark.anyio
@pytest.mark.parametrize("form", FORMS)
async def test_background_tasks_see_what_was_said(server: LocalDashScope, form: Form) -> None:
    """A task of the response runs after it, with the text that was sent."""
    server.reply("all of it")
    saved: list[str] = []

    def answer(stream: AsyncStream) -> Response:
        return form(stream, background=BackgroundTask(lambda: saved.append(stream.text)))

    assert (await browse(answer)).status_code == 200
    assert saved == ["all of it"]


@pytest.mark.anyio
async def test_fastapis_background_tasks_run(server: LocalDashScope) -> None:
    """What a handler gives to FastAPI's `BackgroundTasks` runs after a stream, too."""
    app = FastAPI(lifespan=lifespan)
    saved: list[str] = []

    @app.get("/")
    def page(client: ClientDep, tasks: BackgroundTasks) -> EventStream:
        stream = client.astream(MODEL, messages=HELLO)
        tasks.add_task(lambda: saved.append(stream.text))
        return EventStream(stream)

    server.reply("all of it")
    async with browsing(app) as browser:
        await browser.get("/")
    assert saved == ["all of it"]


def test_the_schema_shows_the_media_type() -> None:
    """As `response_class`, each form tells OpenAPI what a handler answers with."""
    app = FastAPI()
    for form in FORMS:
        app.get(f"/{form.__name__}", response_class=form)(lambda: None)
    paths = app.openapi()["paths"]

    assert [
        list(paths[f"/{form.__name__}"]["get"]["responses"]["200"]["content"]) for form in FORMS
    ] == [
        ["text/event-stream"],
        ["application/jsonl"],
        ["text/plain"],
    ]


@pytest.mark.anyio
async def test_a_server_may_say_gone_by_an_oserror(server: LocalDashScope) -> None:
    """Since ASGI 2.4 sending may fail for a browser that has left; the call ends all the same."""
    server.reply(Reply(pieces=["a", "b"]))
    server.fault(Stall(after=1))

    async def receive() -> dict[str, object]:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: object) -> None:
        raise OSError(message)

    async with Client() as client:
        response = EventStream(client.astream(MODEL, messages=HELLO))
        await response({"type": "http", "path": "/", "headers": []}, receive, send)
    await server.await_idle()
    assert server.exchanges[0].outcome == "client left"
