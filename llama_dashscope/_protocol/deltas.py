"""Tells new text from repeated text in the frames of a stream.

A stream is requested in pieces (`incremental_output`: each frame holds only the new text) or in
wholes (the service's default: each frame repeats all the text so far). No document says which Llama
models honour `incremental_output`, so the frames are checked against it. A contradiction that can't
be resolved is an error; text is never doubled or lost.
"""

from itertools import pairwise
from typing import Final

__all__ = ["SURE_AFTER", "DeltaDetector", "TextAccumulator"]

SURE_AFTER: Final = 4
"""After this many frames, each repeating and extending the one before, they can't be pieces."""


class DeltaDetector:
    """Finds the new text of each frame.

    While a frame may be either a piece or a whole, its delta is held back. In a stream of pieces
    this only happens while each frame happens to begin with the frame before. The end of the answer
    settles it: a stream of pieces ends with an empty frame, so a last frame that repeats the frame
    before, or begins with it, is a whole.

    Args:
        incremental: whether pieces were requested. None if the request left it open: then a frame
            that contradicts those before it is read as a piece and is not an error.
    """

    __slots__ = ("_asked_pieces", "_chain", "_pieces", "_unasked", "_whole")

    def __init__(self, *, incremental: bool | None) -> None:
        """Start before the first frame."""
        self._asked_pieces = bool(incremental)
        self._unasked = incremental is None
        self._pieces: bool | None = None
        self._chain: list[str] = []
        self._whole = ""

    @property
    def settled(self) -> bool:
        """Whether it is known if frames are pieces or wholes; then no delta is held back."""
        return self._pieces is not None

    def take(self, text: str, *, last: bool = False) -> list[str]:
        """Add a frame's text and return the deltas that are now known, oldest first.

        In total there is exactly one delta for each frame; some come later than their frame.

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
        """Add a frame's text, once this is `settled`, and return its delta; see `take`."""
        return text if self._pieces else self._new_text(text)

    def held(self) -> list[str]:
        """Return the deltas that are held back, read as pieces, as requested."""
        return self._chain[1:]

    def _doubt_pieces(self, text: str, *, last: bool) -> list[str]:
        latest = self._chain[-1]
        repeats = text == latest and last
        grows = text != latest and text.startswith(latest)
        self._chain.append(text)
        if not (grows or repeats):
            self._pieces = True
            return self._release(self.held())
        if len(self._chain) <= SURE_AFTER and not last:
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

    def _new_text(self, text: str) -> str:
        """Return the part of a whole after the text so far; an empty frame adds nothing."""
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
    """A text that is sent in frames and read only at the end."""

    def __init__(self, *, incremental: bool | None) -> None:
        """Start before the first frame; `incremental` as for `DeltaDetector`."""
        self._deltas = DeltaDetector(incremental=incremental)
        self._pieces: list[str] = []

    def take(self, text: str, *, last: bool) -> None:
        """Add a frame's text; see `DeltaDetector.take`."""
        self._pieces += self._deltas.take(text, last=last)

    def whole(self) -> str:
        """Return everything that has arrived."""
        return "".join([*self._pieces, *self._deltas.held()])
