"""Content codings (RFC 9110, 8.4.1): gzip and deflate, undone in steps of a bounded size."""

import zlib
from typing import Any, Final

__all__ = ["Inflater", "inflater"]

STEP: Final = 1 << 16
"""Most bytes that come out at once: a few packed ones may stand for very many."""

GZIP: Final = b"\x1f\x8b"
EITHER_FORMAT: Final = zlib.MAX_WBITS | 32
BARE: Final = -zlib.MAX_WBITS

CODINGS: Final = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
NOTHING: Final = {"", "identity"}


class Inflater:
    """Unpacks a body as it arrives.

    Args:
        coding: `gzip` or `deflate`. Some servers leave out the two bytes in front of the latter,
            and some say gzip of what is not packed.

    Raises:
        zlib.error: what arrives is not what was announced.
    """

    __slots__ = ("_begun", "_coding", "_ended", "_more", "_packed", "_zlib")

    def __init__(self, coding: str) -> None:
        """Begin before the first byte."""
        self._coding = coding
        self._begun = False
        self._ended = False
        self._zlib: Any = None
        self._packed = b""
        self._more = False

    def feed(self, data: bytes) -> None:
        """Take bytes as they arrived."""
        if not self._begun:
            self._begun = True
            self._zlib = self._decompressor(data[0])
        self._packed += data

    def _decompressor(self, first: int) -> Any:
        if first == GZIP[0] or (self._coding == "deflate" and first & 15 == zlib.DEFLATED):
            return zlib.decompressobj(EITHER_FORMAT)
        return zlib.decompressobj(BARE) if self._coding == "deflate" else None

    def take(self) -> bytes:
        """Return the next bytes unpacked; none where more has to arrive first."""
        if self._zlib is None:
            plain, self._packed = self._packed, b""
            return plain
        while self._packed or self._more:
            if self._ended and not self._begins_again():
                return b""
            data: bytes = self._zlib.decompress(self._packed, STEP)
            self._packed = self._zlib.unconsumed_tail
            self._more = len(data) == STEP
            if self._zlib.eof:
                self._ended, self._more = True, False
                self._packed = self._zlib.unused_data
            if data:
                return data
        return b""

    def _begins_again(self) -> bool:
        """Tell whether another piece of gzip follows; filling says nothing."""
        if not GZIP.startswith(self._packed[:2]):
            self._packed = b""
        if len(self._packed) < len(GZIP):
            return False
        self._ended = False
        self._zlib = zlib.decompressobj(EITHER_FORMAT)
        return True


def inflater(header: str) -> Inflater | None:
    """Return what unpacks a body with this Content-Encoding; None where it is to be read as it is.

    Nobody was asked to pack anything, and what is no coding at all (`utf-8`, `none`) says nothing.
    """
    codings = [coding.strip().lower() for coding in header.split(",")]
    meant = [coding for coding in codings if coding not in NOTHING]
    return Inflater(CODINGS[meant[0]]) if len(meant) == 1 and meant[0] in CODINGS else None
