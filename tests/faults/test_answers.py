"""No silent loss: what the service or a gateway can say wrong, on every leg.

A case is one fault and what each face must make of it. `sent` counts requests on the wire.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal, TypeAlias

import pytest
from attrs import frozen

from llama_dashscope import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ContentFilterError,
    DashScopeError,
    IncompleteResponseError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExhaustedError,
    RateLimitError,
    RequestTooLargeError,
    ResponseError,
    Retry,
    ServiceUnavailableError,
)
from llama_dashscope.testing import (
    CutStream,
    Drip,
    Drop,
    ErrorFrame,
    ErrorStatus,
    Fault,
    Garbled,
    GatewayPage,
    Heartbeats,
    LocalDashScope,
    Moderated,
    QuotaSpent,
    RateLimited,
    Raw,
    Reply,
    Unavailable,
)

if TYPE_CHECKING:
    from client_matrix import Leg

ABC = Reply(pieces=["a", "b", "c"])
AT_ONCE = Retry(times=2, base=0)
JSON = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream;charset=UTF-8"}
Shape: TypeAlias = Literal["json", "frame", "status-frame", "ok-json"]
SHAPES: tuple[Shape, ...] = ("json", "frame", "status-frame", "ok-json")

WHOLE = b'{"output":{"text":"abc","finish_reason":"stop"},"usage":{},"request_id":"r"}'
FRAME = (
    b'id:1\nevent:result\n:HTTP_STATUS/200\ndata:{"output":{"text":"a","finish_reason":"null"}'
    b',"usage":{"total_tokens":7},"request_id":"r-1"}\n\n'
)
LAST = FRAME.replace(b'"text":"a","finish_reason":"null"', b'"text":"bc","finish_reason":"stop"')


@frozen
class Refusal:
    """An error of the service's: how it is said, and what it becomes."""

    status: int
    code: str
    error: type[APIStatusError]
    message: str = "So it is."


FINAL = [
    Refusal(400, "InvalidParameter", BadRequestError),
    Refusal(400, "Arrearage", QuotaExhaustedError),
    Refusal(400, "DataInspectionFailed", ContentFilterError),
    Refusal(401, "InvalidApiKey", AuthenticationError),
    Refusal(403, "AccessDenied", PermissionDeniedError),
    Refusal(403, "AllocationQuota.FreeTierOnly", QuotaExhaustedError),
    Refusal(404, "ModelNotFound", NotFoundError),
    Refusal(413, "BadRequest.TooLarge", RequestTooLargeError),
    Refusal(429, "CommodityNotPurchased", QuotaExhaustedError),
    Refusal(
        429, "Throttling.AllocationQuota", QuotaExhaustedError, "Free allocated quota exceeded."
    ),
]
PASSING = [
    Refusal(429, "Throttling", RateLimitError),
    Refusal(429, "Throttling.RateQuota", RateLimitError),
    Refusal(429, "Throttling.AllocationQuota", RateLimitError, "Allocated quota exceeded, wait."),
    Refusal(500, "InternalError", InternalServerError),
    Refusal(500, "RequestTimeOut", InternalServerError),
    Refusal(502, "SystemError", InternalServerError),
    Refusal(503, "ModelUnavailable", ServiceUnavailableError),
    Refusal(504, "GatewayTimeout", InternalServerError),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("refusal", FINAL, ids=lambda it: f"{it.code}-{it.error.__name__}")
def test_what_stays_is_not_tried_again(
    leg: Leg, server: LocalDashScope, refusal: Refusal, shape: Shape
) -> None:
    """A refusal that waiting won't change ends the call at once, whichever way it is said."""
    server.fault(
        ErrorStatus(refusal.status, refusal.code, refusal.message, shape=shape), times=None
    )

    error = leg.ask(leg.client(server, retry=AT_ONCE)).raised

    assert type(error) is refusal.error
    assert (error.code, error.message) == (refusal.code, refusal.message)
    assert error.status_code == refusal.status
    assert error.request_id
    assert error.attempts == len(server.requests) == 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("refusal", PASSING, ids=lambda it: it.code)
def test_what_passes_is_tried_again(
    leg: Leg, server: LocalDashScope, refusal: Refusal, shape: Shape
) -> None:
    """A refusal that passes by itself costs another try, in a stream and in a call alike."""
    fault = ErrorStatus(refusal.status, refusal.code, refusal.message, shape=shape)
    server.fault(fault)
    server.reply(ABC)

    outcome = leg.ask(leg.client(server, retry=AT_ONCE))

    assert (outcome.text, outcome.error) == ("abc", None)
    assert len(server.requests) == 2


@pytest.mark.parametrize("refusal", PASSING, ids=lambda it: it.code)
def test_tries_come_to_an_end(leg: Leg, server: LocalDashScope, refusal: Refusal) -> None:
    """A service that doesn't recover is asked as often as was said, and its last word is raised."""
    server.fault(ErrorStatus(refusal.status, refusal.code, refusal.message), times=None)

    error = leg.ask(leg.client(server, retry=AT_ONCE)).raised

    assert type(error) is refusal.error
    assert (error.code, error.status_code) == (refusal.code, refusal.status)
    assert error.attempts == len(server.requests) == 3


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_gateway_that_passes(leg: Leg, server: LocalDashScope, status: int) -> None:
    """A gateway's HTML page counts by its status."""
    server.fault(GatewayPage(status))
    server.reply(ABC)

    outcome = leg.ask(leg.client(server, retry=AT_ONCE))

    assert (outcome.text, outcome.error) == ("abc", None)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("status", "expected"),
    [(404, NotFoundError), (413, RequestTooLargeError), (502, InternalServerError)],
)
def test_a_gateway_in_the_services_stead(
    leg: Leg, server: LocalDashScope, status: int, expected: type[DashScopeError]
) -> None:
    """A page becomes the error of its status and shows its beginning."""
    server.fault(GatewayPage(status), times=None)

    error = leg.ask(leg.client(server, retry=0)).raised

    assert type(error) is expected
    assert error.status_code == status
    assert "<html>" in error.message


@pytest.mark.parametrize("after", [1, 2, 3])
@pytest.mark.parametrize(
    "refusal", [*FINAL[:2], FINAL[-1], *PASSING[:4]], ids=lambda it: f"{it.code}-{it.status}"
)
def test_an_error_inside_a_stream(
    leg: Leg, server: LocalDashScope, refusal: Refusal, after: int
) -> None:
    """An error frame raises the class that its code raises outside, and is final after content."""
    server.fault(ErrorFrame(after, refusal.status, refusal.code, refusal.message), times=None)
    server.reply(ABC)

    outcome = leg.ask(leg.client(server, retry=0))

    error = outcome.raised
    assert type(error) is refusal.error
    assert (error.code, error.status_code) == (refusal.code, refusal.status)
    assert error.request_id
    assert error.attempts == 1
    assert outcome.text == error.partial_text == ("abc"[:after] if leg.streaming else "")
    assert (error.usage is not None) == leg.streaming


@pytest.mark.parametrize("after", [0, 1])
def test_only_before_the_first_content_a_stream_is_tried_again(
    leg: Leg, server: LocalDashScope, after: int
) -> None:
    """An error frame before the first content is met by another try, one after it never."""
    server.fault(ErrorFrame(after))
    server.reply(ABC)

    outcome = leg.ask(leg.client(server, retry=AT_ONCE))

    again = after == 0 or not leg.streaming
    assert (outcome.text, outcome.error is None) == (("abc", True) if again else ("a", False))
    assert len(server.requests) == 1 + again


@pytest.mark.parametrize("how", ["clean", "fin", "rst"])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_an_answer_that_stops(
    leg: Leg, server: LocalDashScope, after: int, how: Literal["clean", "fin", "rst"]
) -> None:
    """However an answer stops before its end, that is an error with all that had come."""
    server.fault(CutStream(after, how), times=None)
    server.reply(ABC)

    outcome = leg.ask(leg.client(server, retry=AT_ONCE))

    assert isinstance(outcome.error, IncompleteResponseError | APIConnectionError)
    assert outcome.response is None
    assert outcome.error.attempts == len(server.requests) == 1
    if leg.streaming:
        assert outcome.text == outcome.error.partial_text
        # A reset may overtake what was sent before it; an orderly end does not.
        assert "abc"[:after].startswith(outcome.text)
        assert how == "rst" or outcome.text == "abc"[:after]
        assert how != "clean" or isinstance(outcome.error, IncompleteResponseError)


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_connection_that_ends_without_a_byte(
    leg: Leg, server: LocalDashScope, how: Literal["fin", "rst"]
) -> None:
    """A connection that ends before a byte of the answer is tried again, a new one too."""
    server.fault(Drop(how))
    server.reply(ABC)

    outcome = leg.ask(leg.client(server, retry=AT_ONCE))

    assert (outcome.text, outcome.error) == ("abc", None)
    assert len(server.requests) == 2


def test_connections_that_all_end_without_a_byte(leg: Leg, server: LocalDashScope) -> None:
    """After the last try the error says when the connection broke."""
    server.fault(Drop(), times=None)

    error = leg.ask(leg.client(server, retry=AT_ONCE)).raised

    assert type(error) is APIConnectionError
    assert error.attempts == len(server.requests) == 3
    assert "broke before the answer" in error.message


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_garbled_answer(leg: Leg, server: LocalDashScope, after: int) -> None:
    """A frame or body that is no JSON is an error of its own, with what had come before it."""
    server.fault(Garbled(after), times=None)
    server.reply(ABC)

    outcome = leg.ask(leg.client(server, retry=AT_ONCE))

    assert type(outcome.error) is ResponseError
    assert outcome.error.attempts == len(server.requests) == 1
    assert outcome.error.partial_text == outcome.text == ("abc"[:after] if leg.streaming else "")


ODD = {
    "empty": Raw((), headers=JSON),
    "blank": Raw((b" \n",), headers=JSON),
    "html": Raw((b"<html>hello</html>",), headers={"content-type": "text/html"}),
    "text": Raw((b"hello",), headers={"content-type": "text/plain"}),
    "list": Raw((b"[1, 2]",), headers=JSON),
    "number": Raw((b"42",), headers=JSON),
    "cut JSON": Raw((WHOLE[:40],), headers=JSON),
    "deep": Raw((b"[" * 200_000,), headers=JSON),
    "no output": Raw((b'{"request_id":"r"}',), headers=JSON),
    "null output": Raw((b'{"output":null,"request_id":"r"}',), headers=JSON),
    "output a list": Raw((b'{"output":[1]}',), headers=JSON),
    "null choices": Raw((b'{"output":{"choices":null}}',), headers=JSON),
    "no choices": Raw((b'{"output":{"choices":[]}}',), headers=JSON),
    "choices a number": Raw((b'{"output":{"choices":5}}',), headers=JSON),
    "text a number": Raw((b'{"output":{"text":5,"finish_reason":"stop"}}',), headers=JSON),
    "no UTF-8": Raw((b'{"output":{"text":"\xff","finish_reason":"stop"}}',), headers=JSON),
    "partial": Raw((WHOLE,), headers={**JSON, "x-dashscope-partialresponse": "true"}),
    "unfinished": Raw((WHOLE.replace(b"stop", b"null"),), headers=JSON),
    "no content": Raw(head=b"HTTP/1.1 204 No Content\r\n\r\n"),
    "comments only": Raw((b":hello\n\n:hello\n\n",), headers=SSE),
    "done only": Raw((b"data:[DONE]\n\n",), headers=SSE),
    "a frame without output": Raw((b'data:{"request_id":"r"}\n\n',), headers=SSE),
    "a nameless error": Raw((b"event:error\n:HTTP_STATUS/400\n\n",), headers=SSE),
    "no gzip": Raw((b"hello",), headers={**JSON, "content-encoding": "gzip"}),
    "a redirect": Raw((), status=302, headers={"location": "/elsewhere"}),
    "a redirect for good": Raw((), status=308, headers={"location": "http://127.0.0.1:9/"}),
    "code and nothing": Raw((b'{"code":"X","message":"m"}',), headers=JSON),
    "an old error": Raw((b'{"error":{"message":"m","type":"t","code":"X"}}',), headers=JSON),
    "an error of text": Raw((b'{"error":"gone"}',), headers=JSON),
}


@pytest.mark.parametrize("raw", ODD.values(), ids=ODD.keys())
def test_answers_that_are_none(leg: Leg, server: LocalDashScope, raw: Raw) -> None:
    """Whatever comes with a good status and is no answer is an error of ours."""
    server.reply(raw)

    outcome = leg.ask(leg.client(server, retry=AT_ONCE))

    assert isinstance(outcome.error, ResponseError | IncompleteResponseError | APIStatusError)
    assert outcome.response is None
    assert len(server.requests) == 1


BROKEN = {
    "no HTTP": Raw(head=b"hello\r\n\r\n"),
    "half a head": Raw(head=b"HTTP/1.1 200 OK\r\ncontent-le", end="fin"),
    "a bad header": Raw(head=b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n", end="fin"),
    "a long header": Raw(head=b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n", end="fin"),
    "a bad length": Raw(head=b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n", end="fin"),
    "a bad chunk": Raw(
        (b"hello\r\n",), head=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", end="fin"
    ),
    "half a chunk": Raw(
        (b"ff\r\n" + FRAME,),
        head=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        end="fin",
    ),
    "half a body": Raw(
        (WHOLE[:30],), head=b"HTTP/1.1 200 OK\r\ncontent-length: 77\r\n\r\n", end="fin"
    ),
    "half a body, reset": Raw(
        (WHOLE[:30],), head=b"HTTP/1.1 200 OK\r\ncontent-length: 77\r\n\r\n", end="rst"
    ),
    "a switch of protocol": Raw(head=b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n", end="fin"),
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN.keys())
def test_broken_http(leg: Leg, server: LocalDashScope, raw: Raw) -> None:
    """What isn't even HTTP is an error of ours, never one of the libraries below."""
    server.reply(raw)

    outcome = leg.ask(leg.client(server, retry=AT_ONCE))

    assert isinstance(outcome.error, DashScopeError)
    assert outcome.error.__cause__ is not None or isinstance(outcome.error, APIStatusError)
    assert outcome.response is None
    assert len(server.requests) == 1


def test_json_where_a_stream_was_asked_for(leg: Leg, server: LocalDashScope) -> None:
    """A gateway that answers in one piece is understood; a stream gives it as one chunk."""
    server.reply(Raw((WHOLE[:9], WHOLE[9:]), headers=JSON))

    outcome = leg.ask(leg.client(server))

    assert (outcome.text, outcome.error) == ("abc", None)


@pytest.mark.parametrize(
    "number", ["NaN", "-Infinity", "1e400", "-3", "9" * 30, "9" * 5000, "true", '"5"', "[]"]
)
def test_odd_numbers_do_not_spoil_an_answer(leg: Leg, server: LocalDashScope, number: str) -> None:
    """A paid answer is not thrown away for a number beside it; what can't be a count is none."""
    usage = f'"usage":{{"input_tokens":{number},"output_tokens":2,"total_tokens":9}},"x":{number}'
    body = WHOLE.replace(b'"usage":{}', usage.encode())
    frames = b"data:" + body + b"\n\n"
    server.reply([Raw((body,), headers=JSON), Raw((frames,), headers=SSE)][leg.streaming])

    response = leg.ask(leg.client(server)).response

    assert response is not None
    assert (response.text, response.request_id) == ("abc", "r")
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (0, 2)
    assert {"input_tokens"} == set(response.usage.extra)


@pytest.mark.parametrize("indices", [(0, 0), (1, None), ("0", "1"), (None, 0), (-1, -1)])
def test_answers_of_one_frame_stay_apart(
    leg: Leg, server: LocalDashScope, indices: tuple[object, object]
) -> None:
    """Two answers of one frame are two, whatever indices they have; none is glued to the other."""

    def output(*texts: str, reason: str = "null") -> str:
        choices = [
            {"message": {"content": text}, "finish_reason": reason, "index": index}
            for text, index in zip(texts, indices, strict=True)
        ]
        return json.dumps({"output": {"choices": choices}, "request_id": "r"})

    frames = [output("a", "x"), output("b", "y"), output("", "", reason="stop")]
    stream = "".join(f"data:{frame}\n\n" for frame in frames)
    whole = output("ab", "xy", reason="stop")
    server.reply(
        Raw((stream.encode(),), headers=SSE)
        if leg.streaming
        else Raw((whole.encode(),), headers=JSON)
    )

    response = leg.ask(leg.client(server), n=2).response

    assert response is not None
    texts = [choice.message and choice.message.content for choice in response.output.choices or ()]
    assert sorted(map(str, texts)) == ["ab", "xy"]


@pytest.mark.parametrize("size", [1, 7])
def test_bytes_may_come_in_any_pieces(leg: Leg, server: LocalDashScope, size: int) -> None:
    """How the bytes are cut on their way changes nothing."""
    server.fault(Drip(size, 0))
    server.reply(Reply(pieces=["春", "眠\u2028", "不觉\u0085晓"]))

    outcome = leg.ask(leg.client(server))

    assert (outcome.text, outcome.error) == ("春眠\u2028不觉\u0085晓", None)


def test_heartbeats_are_no_answer(leg: Leg, server: LocalDashScope) -> None:
    """Comments between frames are passed over."""
    server.fault(Heartbeats(every=0.01, after=1, seconds=0.05))
    server.reply(ABC)

    assert leg.ask(leg.client(server)).text == "abc"


@pytest.mark.parametrize("fault", [RateLimited(), Unavailable(), Drop(), QuotaSpent(), Moderated()])
def test_never_means_never(leg: Leg, server: LocalDashScope, fault: Fault) -> None:
    """With retry=0 each call is one request."""
    server.fault(fault, times=None)

    error = leg.ask(leg.client(server, retry=0)).error

    assert isinstance(error, DashScopeError)
    assert error.attempts == len(server.requests) == 1
