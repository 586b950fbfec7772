"""Content codings (RFC 9110, 8.4.1): gzip and deflate, undone in steps of a bounded size."""

import zlib
from typing import Final

__all__ = ["Inflater", "inflater"]

STEP: Final = 1 << 16
"""Most bytes that come out at once: a few packed ones may stand for very many."""

GZIP: Final = b"\x1f\x8b"
EITHER_FORMAT: Final = zlib.MAX_WBITS | 32
BARE: Final = -zlib.MAX_WBITS

CODINGS: Final = {"gzip", "x-gzip", "deflate"}


class Inflater:
    """Unpacks a body as it arrives.

    Raises:
        zlib.error: what arrives is not what was announced.
    """

    __slots__ = ("_may_be_bare", "_more", "_packed", "_zlib")

    def __init__(self, *, may_be_bare: bool) -> None:
        """Begin before the first byte.

        Args:
            may_be_bare: whether zlib's two bytes in front may be missing, as from some servers.
        """
        self._may_be_bare = may_be_bare
        self._zlib = zlib.decompressobj(EITHER_FORMAT)
        self._packed = b""
        self._more = False

    def feed(self, data: bytes) -> None:
        """Take bytes as they arrived."""
        if self._may_be_bare and data:
            self._may_be_bare = False
            if data[0] & 15 != zlib.DEFLATED and not data.startswith(GZIP[:1]):
                self._zlib = zlib.decompressobj(BARE)
        self._packed += data

    def take(self) -> bytes:
        """Return the next bytes unpacked; none where more has to arrive first."""
        while self._packed or self._more:
            data = self._zlib.decompress(self._packed, STEP)
            self._packed = self._zlib.unconsumed_tail
            self._more = len(data) == STEP
            if self._zlib.eof:
                self._begin_again(self._zlib.unused_data)
            if data:
                return data
        return b""

    def _begin_again(self, rest: bytes) -> None:
        """Go on behind the end: with another piece of gzip, or with filling, which says nothing."""
        self._more = False
        self._packed = rest if GZIP.startswith(rest[:2]) else b""
        self._zlib = zlib.decompressobj(EITHER_FORMAT)


def inflater(coding: str) -> Inflater | None:
    """Return what unpacks a body with this Content-Encoding; None where it is to be read as it is.

    Nobody was asked to pack anything, and what is no coding at all (`utf-8`, `none`) says nothing.
    """
    coding = coding.strip().lower()
    return Inflater(may_be_bare=coding == "deflate") if coding in CODINGS else None
