"""The plan of a response: status, headers, and the parts of the body with their times."""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Literal, TypeAlias

from attrs import evolve, frozen

Ending: TypeAlias = Literal["clean", "fin", "rst", "hang"]
"""How an answer ends: the body properly, or the connection closed, reset, or silent for ever."""

Headers: TypeAlias = tuple[tuple[str, str], ...]

FOREVER = float("inf")


def reason_phrase(status: int) -> str:
    """Return the reason phrase of a status; empty if HTTP defines none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


@frozen
class BodyPart:
    """Some bytes of the body, sent together."""

    data: bytes
    at: float = 0.0
    """When to send them, in seconds after the request arrived."""
    error: Exception | None = None
    """The error that these bytes report, if a scripted function or an upstream raised it."""
    failed: bool = False
    """Whether they are an error, or invalid, and so make the call fail."""


@frozen
class Pause:
    """A pause; everything after it is delayed by this many seconds."""

    seconds: float


@frozen
class End:
    """The answer ends here, without the rest."""

    how: Ending


Step: TypeAlias = BodyPart | Pause | End
Edit: TypeAlias = Callable[[int, BodyPart], Iterable[Step]]
"""Returns the steps that replace the piece with an index; index 0 is the first."""


def as_it_is(_index: int, piece: BodyPart) -> Iterable[Step]:
    """Return a piece unchanged."""
    return (piece,)


@frozen
class ResponsePlan:
    """Everything that the connection needs in order to send a response."""

    status: int
    headers: Headers
    pieces: Iterable[BodyPart] | AsyncGenerator[BodyPart, None]
    framing: Literal["length", "chunked", "raw"] = "length"
    gzip: bool = False
    """Whether a chunked body is compressed, frame by frame."""
    end: Ending = "clean"
    keep: bool = True
    """Whether the connection is kept alive after a clean end."""
    edit: Edit = as_it_is
    delay: float = 0.0
    """Seconds by which everything is delayed."""
    drip: tuple[int, float] | None = None
    """Bytes per write, and seconds between writes."""
    idle_close: float | None = None
    """Seconds after which the server closes the idle connection."""
    next_request: Ending | None = None
    """What happens to the next request on the same connection, if it gets no answer."""
    error: Exception | None = None
    """The error that caused a refusal, if it isn't due to the service's rules."""
    raw_head: bytes | None = None
    """Sent instead of the status line and headers; `status` is then only for the log."""

    @property
    def streamed(self) -> bool:
        """Whether the body is a stream of frames."""
        return self.framing == "chunked"


def silence(how: Ending) -> ResponsePlan:
    """Return a response that sends nothing."""
    return ResponsePlan(0, (), (), framing="raw", end=how, raw_head=b"")


def cut_at(
    answer: ResponsePlan, index: int, steps: Callable[[BodyPart], Iterable[Step]]
) -> ResponsePlan:
    """Replace the piece with this index by `steps`.

    A body that is not streamed counts as two pieces, its halves, so "after one" is half of it.
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
        yield evolve(piece, data=piece.data[middle:])
