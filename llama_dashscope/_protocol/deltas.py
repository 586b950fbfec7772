"""Tells new text from repeated text in the frames of a stream.

A stream is asked for as pieces (`incremental_output`: each frame holds only what is new) or as
wholes (the service's default: each frame repeats everything so far). Whether a given Llama model
honours the wish is documented nowhere, so what arrives is checked against what was asked for, and
a contradiction that can't be resolved is an error, never a doubled or a shortened text.
"""

from itertools import pairwise
from typing import Final

__all__ = ["SURE", "DeltaDetector", "TextAccumulator"]

SURE: Final = 4
"""After so many frames that each repeat and extend everything before, pieces are ruled out."""


class DeltaDetector:
    """The growth of one text, frame by frame.

    While it can't be told yet whether a frame is a piece or a whole, its delta is held back; in a
    stream of pieces that is so only while every frame happens to begin with all the text so far.
    At the end of an answer no doubt is left: pieces end in an empty frame, so a last frame that
    says all the text again, or begins with it, is a whole.

    Args:
        incremental: whether pieces were asked for; None where nobody asked: a frame that
            contradicts those before it is a piece then, and no error.
    """

    __slots__ = ("_asked_pieces", "_chain", "_pieces", "_unasked", "_whole")

    def __init__(self, *, incremental: bool | None) -> None:
        """Begin before the first frame."""
        self._asked_pieces = bool(incremental)
        self._unasked = incremental is None
        self._pieces: bool | None = None
        self._chain: list[str] = []
        self._whole = ""

    @property
    def settled(self) -> bool:
        """Whether it is known what the frames hold, and nothing is held back."""
        return self._pieces is not None

    def take(self, text: str, *, last: bool = False) -> list[str]:
        """Take a frame's text and return the deltas that are known now, oldest first.

        Over a stream there is exactly one delta for each frame taken, some of them late.

        Args:
            text: the frame's text.
            last: whether the frame ends the answer.

        Raises:
            ValueError: the frame contradicts the text so far.
        """
        if self.settled:
            return [self.take_settled(text)]
        if not self._chain:
            if text:
                self._chain.append(text)
            return [text]
        if self._asked_pieces:
            return self._doubt_pieces(text, last=last)
        return self._doubt_wholes(text)

    def take_settled(self, text: str) -> str:
        """Take a frame's text once all is `settled`, and return its delta; see `take`."""
        return text if self._pieces else self._beyond(text)

    def held(self) -> list[str]:
        """Return the deltas that are held back, read as pieces, as they were asked for."""
        return self._chain[1:]

    def _doubt_pieces(self, text: str, *, last: bool) -> list[str]:
        latest = self._chain[-1]
        repeats = text == latest and last
        grows = text != latest and text.startswith(latest)
        self._chain.append(text)
        if not (grows or repeats):
            self._pieces = True
            return self._release(self.held())
        if len(self._chain) <= SURE and not last:
            return []
        self._pieces, self._whole = False, text
        return self._release([whole[len(before) :] for before, whole in pairwise(self._chain)])

    def _release(self, deltas: list[str]) -> list[str]:
        self._chain = []
        return deltas

    def _doubt_wholes(self, text: str) -> list[str]:
        if not text:
            return [text]
        self._whole = self._chain[0]
        self._pieces = not text.startswith(self._whole)
        return self.take(text)

    def _beyond(self, text: str) -> str:
        """Cut what is known off a whole; an empty frame adds nothing."""
        if not text:
            return ""
        if not text.startswith(self._whole):
            if self._unasked:
                self._pieces = True
                return text
            msg = "a frame of the stream does not continue the text of the frames before it"
            raise ValueError(msg)
        delta = text[len(self._whole) :]
        self._whole = text
        return delta


class TextAccumulator:
    """A text that comes in frames and is wanted only at the end."""

    def __init__(self, *, incremental: bool | None) -> None:
        """Begin before the first frame; `incremental` as for `DeltaDetector`."""
        self._deltas = DeltaDetector(incremental=incremental)
        self._pieces: list[str] = []

    def take(self, text: str, *, last: bool) -> None:
        """Take a frame's text; see `DeltaDetector.take`."""
        self._pieces += self._deltas.take(text, last=last)

    def whole(self) -> str:
        """Return everything that has arrived."""
        return "".join([*self._pieces, *self._deltas.held()])
