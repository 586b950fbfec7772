"""Content codings (RFC 9110, 8.4.1): decompresses gzip and deflate in steps of bounded size."""

import zlib
from typing import Any, Final

__all__ = ["Inflater", "inflater"]

STEP: Final = 1 << 16
"""Most bytes that one step yields: a few compressed bytes may expand to very many."""

GZIP: Final = b"\x1f\x8b"
EITHER_FORMAT: Final = zlib.MAX_WBITS | 32
BARE: Final = -zlib.MAX_WBITS

CODINGS: Final = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
NOTHING: Final = {"", "identity"}


class Inflater:
    """Decompresses a body as it arrives.

    Args:
        coding: `gzip` or `deflate`. Some servers omit the two-byte zlib header of deflate, and some
            label an uncompressed body as gzip; both are accepted.

    Raises:
        zlib.error: the body is not in the announced coding.
    """

    __slots__ = ("_begun", "_coding", "_ended", "_more", "_packed", "_zlib")

    def __init__(self, coding: str) -> None:
        """Start before the first byte."""
        self._coding = coding
        self._begun = False
        self._ended = False
        self._zlib: Any = None
        self._packed = b""
        self._more = False

    def feed(self, data: bytes) -> None:
        """Add bytes as they arrived."""
        if not self._begun:
            self._begun = True
            self._zlib = self._decompressor(data[0])
        self._packed += data

    def _decompressor(self, first: int) -> Any:
        if first == GZIP[0] or (self._coding == "deflate" and first & 15 == zlib.DEFLATED):
            return zlib.decompressobj(EITHER_FORMAT)
        return zlib.decompressobj(BARE) if self._coding == "deflate" else None

    def take(self) -> bytes:
        """Return the next decompressed bytes; none if more must arrive first."""
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
        """Tell whether another gzip member follows; padding is dropped."""
        if not GZIP.startswith(self._packed[:2]):
            self._packed = b""
        if len(self._packed) < len(GZIP):
            return False
        self._ended = False
        self._zlib = zlib.decompressobj(EITHER_FORMAT)
        return True


def inflater(header: str) -> Inflater | None:
    """Return the decompressor for a Content-Encoding; None if the body is to be read unchanged.

    No coding was requested, so values that are not codings (`utf-8`, `none`) are ignored.
    """
    if not header:
        return None
    codings = [coding.strip().lower() for coding in header.split(",")]
    meant = [coding for coding in codings if coding not in NOTHING]
    return Inflater(CODINGS[meant[0]]) if len(meant) == 1 and meant[0] in CODINGS else None
