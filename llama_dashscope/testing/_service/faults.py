"""Faults: ways in which the service, or the network in front of it, fails.

A fault either replaces an answer (`replace`) or changes a good one (`spoil`).
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from attrs import evolve, field, fields, frozen

from llama_dashscope.testing._service import responses

from .field_types import by_type
from .received_request import ReceivedRequest
from .response_plan import (
    FOREVER,
    BodyPart,
    End,
    Ending,
    Headers,
    Pause,
    ResponsePlan,
    Step,
    cut_at,
    reason_phrase,
    silence,
)
from .rules import Refusal

_GATEWAY_PAGE = (
    "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n"
    "<center><h1>{status} {reason}</h1></center>\r\n<hr><center>gateway</center>\r\n"
    "</body>\r\n</html>\r\n"
)


@frozen
class Fault:
    """The base of all faults."""

    def replace(self, request: ReceivedRequest, request_id: str) -> ResponsePlan | None:
        """Return the fault's own answer, or None to let the reply through."""
        del request, request_id
        return None

    def spoil(self, answer: ResponsePlan, request_id: str) -> ResponsePlan:
        """Return the reply's answer, changed."""
        del request_id
        return answer

    def __str__(self) -> str:
        """Return the fault's name, and the arguments that differ from the defaults."""
        changed = [each for each in fields(type(self)) if getattr(self, each.name) != each.default]
        values = (f"{each.name}={getattr(self, each.name)!r}" for each in changed)
        return f"{type(self).__name__}({', '.join(values)})"


@frozen(field_transformer=by_type)
class ErrorStatus(Fault):
    """The call is refused with this status, code and message.

    `shape` is the form of the error: `"json"`, an HTTP status and a JSON body; `"frame"`, HTTP 200
    and an error frame, as recorded for streams in 2024; `"status-frame"`, an HTTP status and a body
    that is such a frame; `"ok-json"`, HTTP 200 and a JSON body with only code and message.
    """

    status: int = 500
    code: str = "InternalError"
    message: str = (
        "An internal error has occured, please try again later or contact service support."
    )
    retry_after: float | str | None = None
    """The `Retry-After` header, in seconds or as any text; by default none, as from the service."""
    shape: Literal["json", "frame", "status-frame", "ok-json"] = "json"

    def replace(self, request: ReceivedRequest, request_id: str) -> ResponsePlan:
        problem = Refusal(self.status, self.code, self.message)
        headers = _retry_after(self.retry_after)
        if self.shape in {"json", "ok-json"}:
            payload = responses.error_payload(problem, request_id)
            status = self.status if self.shape == "json" else 200
            return responses.json_answer(request, payload, status=status, headers=headers)
        outer = 200 if self.shape == "frame" else self.status
        piece = responses.error_part(1, problem, request_id)
        return responses.stream_answer(request, (piece,), request_id, status=outer, headers=headers)


@frozen(field_transformer=by_type)
class RateLimited(ErrorStatus):
    """The call is refused with 429: too many requests."""

    status: int = 429
    code: str = "Throttling.RateQuota"
    message: str = "Requests rate limit exceeded, please try again later."


@frozen(field_transformer=by_type)
class QuotaSpent(ErrorStatus):
    """The call is refused with 429: the free quota, the only one for Llama, is used up."""

    status: int = 429
    code: str = "Throttling.AllocationQuota"
    message: str = "Free allocated quota exceeded."


@frozen(field_transformer=by_type)
class Unavailable(ErrorStatus):
    """The call is refused with 503: the model has no capacity."""

    status: int = 503
    code: str = "ModelUnavailable"
    message: str = "Model is unavailable, please try again later."


@frozen(field_transformer=by_type)
class Moderated(ErrorStatus):
    """The call is refused with 400: its input or output was found inappropriate."""

    status: int = 400
    code: str = "DataInspectionFailed"
    message: str = "Input or output data may contain inappropriate content."


@frozen(field_transformer=by_type)
class GatewayPage(Fault):
    """A gateway answers instead of the service, with an HTML page and no request id."""

    status: int = 502
    body: str | None = None
    """The page; a plain one by default."""
    retry_after: float | str | None = None

    def replace(self, request: ReceivedRequest, request_id: str) -> ResponsePlan:
        del request_id
        page = _GATEWAY_PAGE.format(status=self.status, reason=reason_phrase(self.status))
        return responses.body_answer(
            request,
            (page if self.body is None else self.body).encode(),
            status=self.status,
            content_type="text/html",
            headers=_retry_after(self.retry_after),
            failed=True,
        )


@frozen(field_transformer=by_type)
class Drop(Fault):
    """The connection is closed or reset instead of any answer."""

    how: Literal["fin", "rst"] = "rst"

    def replace(self, request: ReceivedRequest, request_id: str) -> ResponsePlan:
        del request, request_id
        return silence(self.how)


@frozen
class BlackHole(Fault):
    """No byte of an answer is ever sent, and the connection stays open."""

    def replace(self, request: ReceivedRequest, request_id: str) -> ResponsePlan:
        del request, request_id
        return silence("hang")


@frozen(field_transformer=by_type)
class SlowStart(Fault):
    """The answer is delayed by this many seconds."""

    seconds: float = 1.0

    def spoil(self, answer: ResponsePlan, request_id: str) -> ResponsePlan:
        del request_id
        return evolve(answer, delay=self.seconds)


@frozen(field_transformer=by_type)
class CutStream(Fault):
    """The answer ends after `after` frames: cleanly, or by closing or resetting the connection.

    An answer that is not streamed ends after half of its body (with `after=0`, before it), and
    "clean" then means a FIN.
    """

    after: int = 1
    how: Literal["clean", "fin", "rst"] = "fin"

    def spoil(self, answer: ResponsePlan, request_id: str) -> ResponsePlan:
        del request_id
        how: Ending = self.how if answer.streamed or self.how != "clean" else "fin"
        return cut_at(answer, self.after, lambda _: (End(how),))


@frozen(field_transformer=by_type)
class Stall(Fault):
    """The answer pauses after `after` frames: for `seconds`, or for ever."""

    after: int = 1
    seconds: float = FOREVER

    def spoil(self, answer: ResponsePlan, request_id: str) -> ResponsePlan:
        del request_id
        return cut_at(answer, self.after, lambda piece: (Pause(self.seconds), piece))


@frozen(field_transformer=by_type)
class Drip(Fault):
    """The answer is correct but sent a few bytes at a time."""

    size: int = 1
    """Bytes per write."""
    seconds: float = 0.001
    """Seconds between two writes."""

    def spoil(self, answer: ResponsePlan, request_id: str) -> ResponsePlan:
        del request_id
        return evolve(answer, drip=(self.size, self.seconds))


@frozen(field_transformer=by_type)
class Heartbeats(Fault):
    """After `after` frames only comments are sent, for `seconds` or for ever."""

    every: float = 0.05
    after: int = 0
    seconds: float = FOREVER
    comment: str = ":heartbeat"

    def spoil(self, answer: ResponsePlan, request_id: str) -> ResponsePlan:
        del request_id
        return cut_at(answer, self.after, self._beat if answer.streamed else self._wait)

    def _beat(self, piece: BodyPart) -> Iterator[Step]:
        beat, spent = self.comment.encode() + b"\n\n", 0.0
        while spent < self.seconds:
            yield BodyPart(beat)
            yield Pause(self.every)
            spent += self.every
        yield piece

    def _wait(self, piece: BodyPart) -> Iterable[Step]:
        return (Pause(self.seconds), piece)


@frozen(field_transformer=by_type)
class ErrorFrame(Fault):
    """A stream ends in an error frame after `after` frames of content.

    A call that is not streamed is refused with the same status.
    """

    after: int = 1
    status: int = 500
    code: str = "InternalError"
    message: str = (
        "An internal error has occured, please try again later or contact service support."
    )

    def spoil(self, answer: ResponsePlan, request_id: str) -> ResponsePlan:
        problem = Refusal(self.status, self.code, self.message)
        piece = responses.error_part(self.after + 1, problem, request_id)
        return cut_at(answer, self.after, lambda _: (piece, End("clean")))

    def replace(self, request: ReceivedRequest, request_id: str) -> ResponsePlan | None:
        problem = Refusal(self.status, self.code, self.message)
        return None if request.streaming else responses.refusal(request, problem, request_id)


@frozen(field_transformer=by_type)
class Garbled(Fault):
    """The frame after `after` good ones is invalid JSON, and then the stream continues.

    For a call that is not streamed, the body is invalid JSON.
    """

    after: int = 0

    def spoil(self, answer: ResponsePlan, request_id: str) -> ResponsePlan:
        del request_id
        if answer.streamed:
            return cut_at(answer, self.after, lambda piece: (_invalid(piece, _garble(piece.data)),))
        return cut_at(answer, 0, lambda piece: (_invalid(piece, b"<" + piece.data[1:]),))


@frozen(field_transformer=by_type)
class CloseIdle(Fault):
    """The answer is correct and the connection is kept alive, but then closed while idle."""

    after: float = 0.0
    """Seconds between the answer and the closing."""

    def spoil(self, answer: ResponsePlan, request_id: str) -> ResponsePlan:
        del request_id
        return evolve(answer, idle_close=self.after)


@frozen(field_transformer=by_type)
class StaleConnection(Fault):
    """The answer is correct, but the next request on the same connection gets no answer.

    `how` says what happens then: the connection is closed, reset, or stays silent for ever.
    """

    how: Literal["fin", "rst", "hang"] = "rst"

    def spoil(self, answer: ResponsePlan, request_id: str) -> ResponsePlan:
        del request_id
        return evolve(answer, next_request=self.how)


DEFAULT_MIX: tuple[Fault, ...] = (
    RateLimited(retry_after=0),
    ErrorStatus(),
    Unavailable(),
    GatewayPage(),
    Drop("rst"),
    Drop("fin"),
    CutStream(after=2, how="fin"),
    CutStream(after=2, how="clean"),
    ErrorFrame(after=2),
    StaleConnection("fin"),
)
"""The default faults of a random mix: all are over quickly, none hangs."""


@frozen(field_transformer=by_type)
class Mix:
    """A share of the calls fails, each by a fault chosen at random; a seed makes it repeatable."""

    rate: float
    """The share, between 0 and 1; `1 / 20` for one in twenty."""
    faults: Sequence[Fault] = DEFAULT_MIX
    seed: int | None = None
    _random: random.Random = field(init=False, repr=False, eq=False)

    def __str__(self) -> str:
        """Return the share and the faults as text."""
        ways = "any way" if self.faults is DEFAULT_MIX else ", ".join(map(str, self.faults))
        return f"{self.rate * 100:.3g}% of the calls: {ways}"

    def __attrs_post_init__(self) -> None:
        if self.rate > 1 or not self.faults:
            raise ValueError("Mix needs a rate from 0 to 1, and at least one fault")
        generator = random.Random(self.seed)
        object.__setattr__(self, "_random", generator)

    def draw(self) -> Fault | None:
        """Return the fault for one call; None if it doesn't fail."""
        chosen = self._random.choice(self.faults)
        return chosen if self._random.random() < self.rate else None


def _retry_after(value: float | str | None) -> Headers:
    return () if value is None else (("retry-after", str(value)),)


def _invalid(piece: BodyPart, data: bytes) -> BodyPart:
    return evolve(piece, data=data, failed=True)


def _garble(data: bytes) -> bytes:
    return data.replace(b"data:{", b"data:{{", 1)
