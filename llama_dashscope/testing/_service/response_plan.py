"""A response as a plan: status, headers, and the parts of the body with the time of each."""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Literal, TypeAlias

from attrs import evolve, frozen

Ending: TypeAlias = Literal["clean", "fin", "rst", "hang"]
"""How an answer ends: the body properly, or the connection closed, or reset, or mute for ever."""

Headers: TypeAlias = tuple[tuple[str, str], ...]

FOREVER = float("inf")


def reason_phrase(status: int) -> str:
    """Return the reason phrase of a status; empty where HTTP defines none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


@frozen
class BodyPart:
    """Some bytes of the body, sent at once."""

    data: bytes
    at: float = 0.0
    """When, in seconds after the request came in."""
    error: Exception | None = None
    """Why the answer failed, where these bytes say that it did."""


@frozen
class Pause:
    """Nothing for some seconds; what comes after is late by as much."""

    seconds: float


@frozen
class End:
    """The answer stops here, whatever was to follow."""

    how: Ending


Step: TypeAlias = BodyPart | Pause | End
Edit: TypeAlias = Callable[[int, BodyPart], Iterable[Step]]
"""What becomes of the piece with this index; index 0 is the first."""


def as_it_is(_index: int, piece: BodyPart) -> Iterable[Step]:
    """Leave every piece alone."""
    return (piece,)


@frozen
class ResponsePlan:
    """Everything the connection needs to know to send it."""

    status: int
    headers: Headers
    pieces: Iterable[BodyPart] | AsyncGenerator[BodyPart, None]
    framing: Literal["length", "chunked", "raw"] = "length"
    gzip: bool = False
    """Whether a chunked body is compressed on the way, frame by frame."""
    end: Ending = "clean"
    keep: bool = True
    """Whether the connection lives on after a clean end."""
    edit: Edit = as_it_is
    delay: float = 0.0
    """Seconds by which everything is late."""
    drip: tuple[int, float] | None = None
    """So many bytes at a time, with so many seconds between."""
    idle_close: float | None = None
    """Seconds after which the server closes the idle connection."""
    next_request: Ending | None = None
    """What awaits the next request on the same connection, if not an answer."""
    error: Exception | None = None
    """Why there is only a refusal, where the service's rules are not the reason."""
    raw_head: bytes | None = None
    """Sent instead of the status line and headers; `status` is then only for the log."""

    @property
    def streamed(self) -> bool:
        """Whether the body is a stream of frames."""
        return self.framing == "chunked"


def silence(how: Ending) -> ResponsePlan:
    """Answer nothing at all."""
    return ResponsePlan(0, (), (), framing="raw", end=how, raw_head=b"")


def cut_at(
    answer: ResponsePlan, index: int, steps: Callable[[BodyPart], Iterable[Step]]
) -> ResponsePlan:
    """Put `steps` in the place of the piece with this index.

    A body that is not a stream counts as two pieces, its halves, so that "after one" is half of it.
    """

    def edit(at: int, piece: BodyPart) -> Iterable[Step]:
        return steps(piece) if at == index else (piece,)

    if answer.streamed or isinstance(answer.pieces, AsyncGenerator):
        return evolve(answer, edit=edit)
    index = min(index, 1)
    return evolve(answer, pieces=tuple(_halves(answer.pieces)), edit=edit)


def _halves(pieces: Iterable[BodyPart]) -> Iterator[BodyPart]:
    for piece in pieces:
        middle = len(piece.data) // 2
        yield BodyPart(piece.data[:middle], piece.at)
        yield BodyPart(piece.data[middle:], piece.at)
