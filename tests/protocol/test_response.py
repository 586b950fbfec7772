"""Both directions of one exchange: a call's headers out; answers, frames and errors in."""

from __future__ import annotations

import copy
import csv
import json
import logging
import pickle
import time
import traceback
from collections import deque
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_parsers import chunk_parser

from llama_dashscope import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    DashScopeError,
    IncompleteResponseError,
    InternalServerError,
    NotFoundError,
    QuotaExhaustedError,
    RateLimitError,
    RequestTooLargeError,
    ResponseError,
    ServiceUnavailableError,
    Usage,
)
from llama_dashscope._protocol.failure import ResponseHead, read_failure
from llama_dashscope._protocol.request import PATH, request_headers
from llama_dashscope._protocol.response import read_response
from llama_dashscope._protocol.sse import Decoder, ServerSentEvent
from llama_dashscope._settings import ApiKey

SAMPLES = Path(__file__).parents[1] / "samples"
KEY = "sk-0123456789abcdef0123456789abcdef"


class Row(NamedTuple):
    """One row of the service's table of codes."""

    status: str
    code: str
    message: str
    error: str
    retryable: str


with (SAMPLES / "errors.csv").open(encoding="utf-8") as file:
    TABLE = [Row(**row) for row in csv.DictReader(file)]


def head(status: int = 200, key: str = KEY, **headers: str) -> ResponseHead:
    """Make the head of an answer; headers are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ResponseHead(status, named, ApiKey(key), "dashscope.aliyuncs.com")


def as_json(code: str, message: str, **more: object) -> bytes:
    """Write an error body."""
    return json.dumps({"code": code, "message": message, "request_id": "abc", **more}).encode()


def as_frame(status: int | str, code: str, message: str) -> bytes:
    """Write an error frame."""
    return b"id:1\nevent:error\n:HTTP_STATUS/%s\ndata:%s\n\n" % (
        str(status).encode(),
        as_json(code, message),
    )


def from_stream(body: bytes, status: int = 200, **headers: str) -> DashScopeError:
    """Read a stream up to its error and return that."""
    decoder, parser = Decoder(), chunk_parser(head(status, **headers))
    events = [*decoder.feed(body), *decoder.finish()]
    with pytest.raises(DashScopeError) as caught:
        deque(map(parser.read, events), maxlen=0)
    return caught.value


def from_call(body: bytes, status: int = 200, **headers: str) -> DashScopeError:
    """Read an answer with this status, as a call does, and return its error."""
    if head(status).failed:
        return read_failure(head(status, **headers), body)
    with pytest.raises(DashScopeError) as caught:
        read_response(head(status, **headers), body)
    return caught.value


# Requests


def test_the_headers_of_a_call() -> None:
    """The key, and JSON both ways."""
    assert request_headers(ApiKey(KEY), None, streaming=False) == {
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "accept": "application/json",
    }


def test_the_headers_of_a_stream() -> None:
    """Both ways to ask for a stream, and the workspace."""
    assert request_headers(ApiKey(KEY), "ws_1", streaming=True) == {
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "x-dashscope-sse": "enable",
        "accept": "text/event-stream",
        "x-dashscope-workspace": "ws_1",
    }


def test_the_documented_route() -> None:
    """One route for every text model."""
    assert PATH == "/services/aigc/text-generation/generation"


# Answers


def test_the_documented_answer() -> None:
    """An answer of Llama 3.3 with everything in it."""
    body = (SAMPLES / "message-call" / "body.json").read_bytes()

    response = read_response(head(), body)

    shown = json.loads((SAMPLES / "message-call" / "shown.json").read_bytes())
    assert response.to_dict() == shown
    assert list(response.to_dict()) == list(shown)
    assert response.text.startswith("你好")


def test_an_answer_in_text_format() -> None:
    """A recorded answer, with an unknown part of its usage."""
    response = read_response(head(), (SAMPLES / "text-call" / "body.json").read_bytes())

    assert response.text == "1+1等于2。这是最基本的数学加法运算之一。"
    assert response.finish_reason == "stop"
    assert response.usage == Usage(16, 14, extra={"prompt_tokens_details": {"cached_tokens": 0}})


@pytest.mark.parametrize(
    ("payload", "header", "request_id"),
    [
        ({"request_id": "body"}, "header", "body"),
        ({"requestId": "body"}, "header", "body"),
        ({"request_id": ""}, "header", "header"),
        ({"request_id": None}, "header", "header"),
        ({}, "header", "header"),
        ({}, None, ""),
    ],
)
def test_where_the_request_id_comes_from(
    payload: dict[str, Any], header: str | None, request_id: str
) -> None:
    """The body first, in either spelling, then the header; in answers and errors alike."""
    headers = {} if header is None else {"x_request_id": header}
    answer = json.dumps({"output": {"text": "hi"}, **payload}).encode()

    assert read_response(head(200, KEY, **headers), answer).request_id == request_id
    for shape in ({"code": "Throttling", "message": "slow"}, {"error": {"message": "slow"}}):
        error = json.dumps({**shape, **payload}).encode()

        assert read_failure(head(429, KEY, **headers), error).request_id == request_id


def test_the_status_is_that_of_the_answer() -> None:
    """Not one that a body may name."""
    body = b'{"status_code": 500, "output": {"text": "hi"}}'

    assert read_response(head(201), body).status_code == 201


def test_a_byte_order_mark() -> None:
    """A mark in front of the JSON is no part of it."""
    assert read_response(head(), b'\xef\xbb\xbf{"output":{"text":"hi"}}').text == "hi"


def test_an_integer_that_python_refuses() -> None:
    """An integer of more than 4300 digits is read as a float, one of 4300 as it is."""
    body = b'{"output":{"text":"hi","small":9,"large":%b,"huge":-%b}}'

    found = read_response(head(), body % (b"1" * 4300, b"1" * 4301)).output.extra

    assert (found["small"], found["huge"]) == (9, float("-inf"))
    assert found["large"] % 10**9 == 111111111


def test_an_answer_of_old_models() -> None:
    """Their documented fields are text, two counts and an id; an empty text is an answer too."""
    body = b'{"output":{"text":""},"usage":{"input_tokens":1,"output_tokens":2},"request_id":"a"}'

    assert read_response(head(), body).usage == Usage(1, 2, 3)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "an empty body"),
        (b" \r\n", "an empty body"),
        (b"null", "a body that is not a JSON object"),
        (b"[]", "a body that is not a JSON object"),
        (b'"hi"', "a body that is not a JSON object"),
        (b'{"output":{"text":"hi"', "a body that is not a JSON object"),
        (b"<html><body>502 Bad Gateway</body></html>", "a body that is not a JSON object"),
        (b"\xff\xfe{", "a body that is not a JSON object"),
        (b"[" * 100_000, "a body that is not a JSON object"),
        (b'{"output":' + b"9" * 5000 + b"}", "expected an object, got float @ $.output"),
        ("\N{NO-BREAK SPACE}{}".encode(), "a body that is not a JSON object"),
        (b"{}", "JSON without an output"),
        (b'{"output":null}', "JSON without an output"),
        (b'{"output":{}}', "an output with neither text nor choices"),
        (b'{"output":{"choices":null}}', "an output with neither text nor choices"),
        (b'{"output":{"choices":[]}}', "an output with neither text nor choices"),
        (b'{"output":{"choices":[{}]}}', "a choice without a message"),
        (
            b'{"output":{"choices":[{"finish_reason":"stop","message":null}]}}',
            "a choice without a message",
        ),
        (b'{"output":{"choices":{}}}', "expected a list, got dict @ $.output.choices"),
        (b'{"output":[]}', "expected an object, got list @ $.output"),
        (b'{"output":[{"text":"hi"}]}', "expected an object, got list @ $.output"),
        (b'{"output":"hi"}', "expected an object, got str @ $.output"),
        (b'{"output":5}', "expected an object, got int @ $.output"),
        (b'{"output":{"text":5}}', "expected a string, got int @ $.output.text"),
        (
            b'{"output":{"choices":[{"message":{"content":[]}}]}}',
            "expected a string, got list @ $.output.choices[0].message.content",
        ),
        (b'data:{"output":{"text":"hi"}}\n\n', "server-sent events, which were not requested"),
    ],
)
def test_what_is_no_answer(body: bytes, words: str) -> None:
    """A 200 that is not the protocol is an error that shows what it was."""
    error = from_call(body, x_request_id="abc")

    shown = body.decode(errors="replace").strip()[:9]
    assert type(error) is ResponseError
    assert f"{error.message}: ".startswith(
        f"the answer does not follow the protocol: {words}: {shown}"
    )
    assert (error.status_code, error.request_id, error.retryable) == (200, "abc", False)


def test_a_long_body_is_shown_by_its_beginning() -> None:
    """An error is no place for a whole page."""
    message = str(from_call(b"<p>" + "你".encode() * 10_000))

    assert len(message) < 500
    assert "你你你..." in message


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"x_dashscope_partialresponse": "true"}, {"text": "half"}),
        ({"x_dashscope_partialresponse": "True"}, {"text": "half", "finish_reason": "stop"}),
        ({}, {"text": "half", "finish_reason": "null"}),
        ({}, {"choices": [{"finish_reason": "null", "message": {"content": "half"}}]}),
    ],
)
def test_an_answer_that_says_it_is_cut_short(headers: dict[str, str], body: object) -> None:
    """Half an answer is an error that carries what there is."""
    usage = {"input_tokens": 1, "output_tokens": 2}
    payload = json.dumps({"output": body, "usage": usage, "request_id": "abc"}).encode()

    error = from_call(payload, 200, **headers)

    assert type(error) is IncompleteResponseError
    assert error.message == (
        "the service stopped before the answer was complete; partial_text has what it sent"
    )
    assert (error.partial_text, error.usage) == ("half", Usage(1, 2))
    assert (error.status_code, error.request_id) == (200, "abc")


@pytest.mark.parametrize("value", ["false", "", "0"])
def test_an_answer_that_says_it_is_whole(value: str) -> None:
    """The header may be there and say no."""
    answer = read_response(head(x_dashscope_partialresponse=value), b'{"output":{"text":"hi"}}')

    assert answer.text == "hi"


# Errors, in each of their shapes


@pytest.mark.parametrize("row", TABLE)
def test_every_code_in_every_shape(row: Row) -> None:
    """One class for a code, whether it comes as JSON, as a frame, as a body of frames or nested."""
    number, code, message = int(row.status), row.code, row.message
    body, frame = as_json(code, message), as_frame(number, code, message)
    nested = json.dumps(
        {"error": {"code": code, "message": message, "type": None}, "request_id": "abc"}
    ).encode()

    found = [
        from_call(body, number),  # A
        from_stream(frame),  # B
        from_call(frame, number),  # C
        from_call(frame),  # C, under 200
        from_call(nested, number),  # E
        from_stream(frame, number),
    ]
    unsaid = [from_call(body), from_call(nested), from_stream(b"data:" + body)]  # D

    for each in [*found, *unsaid]:
        assert type(each).__name__ == row.error
        assert each.retryable == (row.retryable == "yes")
        assert (each.code, each.message, each.request_id) == (code, message, "abc")
    for each in found:
        assert each.status_code == number
    for each in unsaid:
        assert each.status_code in {int(other.status) for other in TABLE if other.code == code}


@pytest.mark.parametrize(
    ("case", "status", "kind", "shown"),
    [
        ("error-call/body.json", 401, AuthenticationError, 401),
        ("error-stream/body.sse", 200, BadRequestError, 400),
        ("error-stream/body.sse", 400, BadRequestError, 400),
        ("quota-stream/body.sse", 200, QuotaExhaustedError, 429),
        ("quota-stream/body.sse", 429, QuotaExhaustedError, 429),
    ],
)
def test_recorded_errors(case: str, status: int, kind: type[DashScopeError], shown: int) -> None:
    """Recorded errors have their class, status, words and id, whichever way they are read."""
    body = (SAMPLES / case).read_bytes()

    error = from_call(body, status)

    assert type(error) is kind
    assert (error.status_code, error.retryable) == (shown, False)
    assert error.code
    assert error.message
    assert error.request_id
    if case.endswith("sse"):
        assert vars(from_stream(body, status)) == vars(error)


def test_an_unknown_key_names_the_host() -> None:
    """A valid key in the wrong region is refused like a wrong one; the hint says so."""
    error = from_call((SAMPLES / "error-call" / "body.json").read_bytes(), 401)

    assert error.hint == (
        "is the key for dashscope.aliyuncs.com? each region has its own keys and address"
    )
    assert error.hint in str(error)


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (404, NotFoundError, False),
        (413, RequestTooLargeError, False),
        (429, RateLimitError, True),
        (500, InternalServerError, True),
        (502, InternalServerError, True),
        (503, ServiceUnavailableError, True),
        (504, InternalServerError, True),
        (302, APIStatusError, False),
        (599, InternalServerError, False),
        (999, InternalServerError, False),
    ],
)
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>\n<h1>Bad\tGateway</h1>\n</html>", "<html> <h1>Bad Gateway</h1> </html>"),
        (b"upstream connect error", "upstream connect error"),
        (b"", None),
        (b"null", "null"),
        (b"[]", "[]"),
        (b"{}", "{}"),
        (b"\xff", "\ufffd"),
        (b'{"output":{"text":"hi"}}', '{"output":{"text":"hi"}}'),
        (b'data:{"output":{"text":"hi"}}\n\n', 'data:{"output":{"text":"hi"}}'),
        (b":HTTP_STATUS/200\ndata:{}\n\n", ":HTTP_STATUS/200 data:{}"),
        (b"event:result\n:HTTP_STATUS/200\n\n", "event:result :HTTP_STATUS/200"),
    ],
)
def test_what_a_gateway_says(
    status: int, kind: type[DashScopeError], retryable: bool, body: bytes, words: str | None
) -> None:
    """Without the service's own words the status decides, and the body's beginning is shown."""
    error = from_call(body, status, x_request_id="abc")

    if words is None:
        known = status in {each.value for each in HTTPStatus}
        words = HTTPStatus(status).phrase if known else "no reason given"
    assert (type(error), error.retryable) == (kind, retryable)
    assert (error.message, error.status_code) == (words, status)
    assert (error.code, error.request_id) == ("", "abc")


@pytest.mark.parametrize(
    ("payload", "code", "message"),
    [
        ({"error": {"message": "words", "type": "invalid_request_error"}}, None, "words"),
        ({"error": {"message": "words", "code": 7}}, "7", "words"),
        ({"error": {"message": ["words"], "code": "C"}}, "C", '["words"]'),
        ({"error": "words"}, "", "words"),
        ({"error": "words", "code": "C"}, "C", "words"),
        ({"error": "short", "message": "words"}, "", "words"),
        ({"error": {}, "code": "C", "message": "words"}, "C", "words"),
        ({"error": {"code": "C"}, "message": "words"}, "C", "words"),
        ({"error": {"message": "words"}, "code": "C"}, "C", "words"),
        ({"error": None, "code": "C", "message": "words"}, "C", "words"),
        ({"code": "C", "message": "words", "type": "T"}, "C", "words"),
        ({"code": None, "message": "words", "type": "T"}, "T", "words"),
        ({"code": "", "message": "words"}, "", "words"),
        ({"code": {"a": 1}, "message": "你"}, '{"a": 1}', "你"),
        ({"code": "C", "message": "words", "output": None}, "C", "words"),
        ({"code": "C", "message": "words", "output": {}}, "C", "words"),
    ],
)
def test_variants_of_the_error_body(
    payload: dict[str, Any], code: str | None, message: str
) -> None:
    """Code and words are found where the several editions of the protocol have them."""
    error = from_call(json.dumps(payload).encode(), 400)

    assert isinstance(error, APIStatusError)
    assert error.code == ("invalid_request_error" if code is None else code)
    assert error.message == message


def test_an_id_within_the_nested_error() -> None:
    """The request id may stand inside too."""
    body = b'{"error":{"code":"C","message":"words","request_id":"abc"}}'

    assert from_call(body, 400).request_id == "abc"


@pytest.mark.parametrize(
    "output", [None, {}, [], "", {"text": None, "finish_reason": None, "choices": None}]
)
def test_a_200_with_a_code_and_no_answer(output: object) -> None:
    """A code where the answer should be is that code's error, however empty the output is."""
    body = as_json("Throttling.RateQuota", "slow down", output=output)

    for error in (from_call(body), from_stream(b"data:" + body)):
        assert type(error) is RateLimitError
        assert (error.code, error.status_code) == ("Throttling.RateQuota", 429)


def test_an_answer_beside_a_code() -> None:
    """Where there is an answer, a code is no reason to throw it away."""
    body = b'{"code":"Success","message":"","output":{"text":"hi"}}'

    assert read_response(head(), body).text == "hi"
    parser = chunk_parser(head())
    assert parser.read(ServerSentEvent(body, "result", 200))
    assert parser.answer.text == "hi"


@pytest.mark.parametrize(
    "output",
    [{"text": "hi"}, {"choices": [{"message": {"content": "hi"}}]}, {"finish_reason": "stop"}],
)
def test_a_part_of_an_answer_beside_a_code(output: dict[str, Any]) -> None:
    """A frame with any part of an answer is no error, whatever code it has."""
    body = as_json("Success", "", output=output)

    assert chunk_parser(head()).read(ServerSentEvent(body, "result", 200))


def test_a_frames_status_never_hides_the_outer_one() -> None:
    """A body of frames under 500 is a failure, though its comment says 200."""
    error = from_call(b'id:1\n:HTTP_STATUS/200\ndata:{"message":"words"}\n\n', 500)

    assert type(error) is InternalServerError
    assert error.status_code == 500


def test_an_error_after_other_frames_in_a_body() -> None:
    """A body of frames is searched for its error."""
    body = b'data:{"output":{"text":"hi"}}\n\n' + as_frame("429 TOO_MANY", "Throttling", "slow")

    assert type(from_call(body, 400)) is RateLimitError


def test_a_body_of_frames_without_their_last_blank_line() -> None:
    """The last frame counts as it is."""
    assert (
        type(from_call(as_frame(400, "Arrearage", "overdue").rstrip(), 400)) is QuotaExhaustedError
    )


# Frames


@pytest.mark.parametrize(
    "event",
    [
        ServerSentEvent(b"", "", None),
        ServerSentEvent(b" ", "result", 200),
        ServerSentEvent(b"[DONE]", "", None),
        ServerSentEvent(b"{}", "ping", None),
        ServerSentEvent(b'{"note":1}', "done", None),
        ServerSentEvent(b"", "ping", None),
    ],
)
def test_frames_that_say_nothing(event: ServerSentEvent) -> None:
    """Heartbeats and end marks are passed over."""
    assert chunk_parser(head()).read(event) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"null", "a frame that is not a JSON object"),
        (b"[]", "a frame that is not a JSON object"),
        (b'{"output":{"text":"h', "a frame that is not a JSON object"),
        (b"<html>", "a frame that is not a JSON object"),
        (b'{"note":1}', "a frame without output"),
        (b'{"output":null}', "a frame without output"),
        (b'{"output":[]}', "expected an object, got list @ $.output"),
        (b'{"output":{"text":5}}', "expected a string, got int @ $.output.text"),
        (
            b'{"output":{"choices":[{"message":{"tool_calls":[1]}}]}}',
            "expected an object, got int @ $.output.choices[0].message.tool_calls[0]",
        ),
    ],
)
def test_garbled_frames(data: bytes, words: str) -> None:
    """A frame that is not the protocol is a ResponseError that shows it."""
    error = from_stream(b"event:result\n:HTTP_STATUS/200\ndata:" + data + b"\n\n")

    assert type(error) is ResponseError
    assert error.message == (f"the answer does not follow the protocol: {words}: {data.decode()}")
    assert error.status_code == 200


@pytest.mark.parametrize(
    ("frame", "kind", "status"),
    [
        (b"event:error\n\n", APIStatusError, 200),
        (b"event:error\n:HTTP_STATUS/503\n\n", ServiceUnavailableError, 503),
        (b":HTTP_STATUS/429\n\n", RateLimitError, 429),
        (b"event:error\n:HTTP_STATUS/500\ndata:oops\n\n", InternalServerError, 500),
        (b"event:result\n:HTTP_STATUS/500\ndata:[]\n\n", InternalServerError, 500),
        (b'event: error\ndata: {"message":"words"}\n\n', APIStatusError, 200),
        (b'event:result\ndata:{"code":"Throttling"}\n\n', RateLimitError, 429),
        (b'event:result\n:HTTP_STATUS/200\ndata:{"code":"Throttling"}\n\n', RateLimitError, 429),
        (b'event:error\n:HTTP_STATUS/429\ndata:{"code":"Arrearage"}\n\n', QuotaExhaustedError, 429),
    ],
)
def test_error_frames(frame: bytes, kind: type[DashScopeError], status: int) -> None:
    """An error frame is one by its name, its status or its code, whatever else it lacks."""
    error = from_stream(frame)

    assert (type(error), error.status_code) == (kind, status)
    assert error.message


@pytest.mark.parametrize("case", ["text-stream", "message-stream"])
def test_recorded_streams(case: str) -> None:
    """A recorded stream is read to its end, byte by byte as well."""
    body = (SAMPLES / case / "body.sse").read_bytes()
    decoder, parser = Decoder(), chunk_parser(head())

    for at in range(len(body)):
        for event in decoder.feed(body[at : at + 1]):
            assert parser.read(event)
    for event in decoder.finish():
        assert parser.read(event)

    assert parser.answer.finished
    assert parser.answer.text == {"text-stream": "1+1", "message-stream": "1"}[case]


# Waiting


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("5", 5.0),
        (" 5 ", 5.0),
        ("1.5", 1.5),
        ("1e9", 1e9),
        ("-5", 0.0),
        ("nan", None),
        ("inf", None),
        ("-inf", None),
        ("", None),
        ("soon", None),
        ("5 seconds", None),
        ("1_0", None),
        ("\u0665", None),
        ("Sun Nov 6", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 99999 08:49:37 GMT", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    """Seconds or a date; never below 0, and nothing at all where it is unclear."""
    assert from_call(as_json("Throttling", "slow"), 429, retry_after=value).retry_after == seconds
    assert from_call(as_json("Throttling", "slow"), 429).retry_after is None


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/New_York", "UTC"])
@pytest.mark.parametrize("written", ["rfc", "asctime", "zoneless"])
def test_retry_after_a_date(monkeypatch: pytest.MonkeyPatch, zone: str, written: str) -> None:
    """A date is UTC in each of its spellings, wherever this machine stands."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    now = time.time()
    value = {
        "rfc": formatdate(now + 100, usegmt=True),
        "asctime": time.asctime(time.gmtime(now + 100)),
        "zoneless": formatdate(now + 100),
    }[written]
    try:
        seconds = from_call(as_json("Throttling", "slow"), 429, retry_after=value).retry_after
    finally:
        monkeypatch.undo()
        time.tzset()

    assert seconds is not None
    assert 100 - 60 < seconds <= 100


@given(st.text())
def test_any_retry_after(value: str) -> None:
    """Any header is a number of seconds or nothing."""
    seconds = from_call(as_json("Throttling", "slow"), 429, retry_after=value).retry_after

    assert seconds is None or 0 <= seconds < float("inf")


# The key


ECHOES = [
    as_json("InvalidApiKey", f"Invalid API-key provided: {KEY}."),
    as_json(KEY, "the key as a code"),
    as_json("InvalidApiKey", "the key as an id").replace(b"abc", KEY.encode()),
    json.dumps({"error": {"message": f"bad key {KEY}", "code": KEY, "type": KEY}}).encode(),
    json.dumps({"error": f"bad key {KEY}"}).encode(),
    f"<html>Bearer {KEY}</html>".encode(),
    b"<html>" + b"x" * 280 + KEY.encode() + b"</html>",
    b"<html>" + "你".encode() * 390 + KEY.encode() + b"</html>",
    f'data:{{"code":"InvalidApiKey","message":"{KEY}"}}\n\n'.encode(),
    f'{{"output":"{KEY}"}}'.encode(),
    f'{{"output":{{"text":5,"{KEY}":"{KEY}"}}}}'.encode(),
    json.dumps({"output": None, "echo": KEY}).encode(),
    json.dumps({"message": KEY}).encode(),
]


def parts(key: str) -> list[str]:
    """Cut a key into pieces of which none may be seen, however much of it is shown."""
    return [key[at : at + 8] for at in range(3, len(key) - 8)]


@pytest.mark.parametrize("status", [200, 302, 401, 500])
@pytest.mark.parametrize("body", ECHOES)
def test_an_echoed_key_is_not_repeated(
    status: int, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """No error shows the key, nor a part of it: printed, pickled, copied, logged or traced."""
    errors = [from_call(body, status, x_request_id=KEY)]
    parser = chunk_parser(head(x_request_id=KEY))
    for name, number in (("error", None), ("result", status)):
        with pytest.raises(DashScopeError) as caught:
            parser.read(ServerSentEvent(body, name, number))
        errors.append(caught.value)
    for error in errors:
        logging.getLogger("test").error("failed", exc_info=error)
        shown = "".join(
            [
                str(error),
                repr(error),
                repr(vars(error)),
                repr(pickle.dumps(error)),
                repr(vars(copy.deepcopy(error))),
                *traceback.format_exception(error),
                caplog.text,
            ]
        )

        assert [part for part in parts(KEY) if part in shown] == []


def test_a_head_hides_the_key() -> None:
    """What is passed around inside shows no key either."""
    assert KEY not in repr(head())


# Anything


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("output", "text", "choices", "message", "content", "finish_reason"),
                    *("tool_calls", "index", "function", "request_id", "code", "error"),
                    *("usage", "input_tokens"),
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
bodies = st.binary() | json_values.map(lambda value: json.dumps(value).encode())
statuses = st.sampled_from([200, 204, 302, 400, 401, 404, 429, 500, 503]) | st.integers(100, 999)


@given(bodies, statuses, st.dictionaries(st.just("x-dashscope-partialresponse"), st.just("true")))
def test_any_body(body: bytes, status: int, headers: dict[str, str]) -> None:
    """Any bytes under any status are an answer or an error of ours."""
    found = ResponseHead(status, headers, ApiKey(KEY), "host")
    failure = read_failure(found, body)
    try:
        response = read_response(found, body)
    except DashScopeError:
        pass
    else:
        assert response.output.text is not None or response.output.choices

    assert isinstance(failure, DashScopeError)
    assert failure.message
    assert failure.status_code


@given(
    bodies,
    st.sampled_from(["", "result", "error", "done"]) | st.text(),
    st.none() | st.integers(100, 999),
    st.booleans(),
)
def test_any_event(data: bytes, name: str, status: int | None, incremental: bool) -> None:
    """Any event is a frame, nothing, or an error of ours; so is what is made of the frame."""
    parser = chunk_parser(head(), incremental=incremental)
    try:
        for _ in range(3):
            parser.read(ServerSentEvent(data, name, status))
    except DashScopeError:
        pass

    assert isinstance(parser.answer.response().text, str)
