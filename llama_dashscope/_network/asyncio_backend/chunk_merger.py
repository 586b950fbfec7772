"""Makes one of the many chunks of a body in HTTP's chunked coding, where they arrive at once.

Who streams sends each frame as a chunk of its own, and h11, with httpcore around it, spends more on
a chunk than is spent on all that the frame has to say. A chunk as such means nothing (RFC 9112,
7.1), so those that came together are one when h11 sees them. What has not the plainest form goes
to h11 as it came, and so does all that follows it: h11 alone judges what is valid.
"""

import re
from typing import Final

__all__ = ["ChunkMerger"]

CODED: Final = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
"""The line in the head of an answer that announces chunks."""

SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
"""What a chunk begins with, in its plainest form."""

BEGUN_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,8}\r?")


class ChunkMerger:
    """Takes the bytes of one answer as they arrive, and gives them back with fewer chunks."""

    __slots__ = ("_expects_head", "_held", "_left", "_stands_aside")

    def __init__(self) -> None:
        """Begin before the head of the answer."""
        self._expects_head = True
        self._stands_aside = False
        self._left = 0
        """Bytes of the last chunk that are still to come."""
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return these bytes with the whole chunks among them as one.

        A chunk's size that is cut before its end is held until more of it comes, so there may be
        nothing to return yet.
        """
        if self._stands_aside:
            return data
        data, self._held = self._held + data, b""
        if self._expects_head:
            begin = self._head(data)
        else:
            begin = min(self._left, len(data))
            self._left -= begin
        contents, end = _whole_chunks(data, begin)
        rest = self._rest(data[end:])
        if len(contents) <= 1:
            return data[:end] + rest
        joined = b"".join(contents)
        return b"%b%x\r\n%b\r\n%b" % (data[:begin], len(joined), joined, rest)

    def _head(self, data: bytes) -> int:
        """Return where the body begins; a head that came in pieces isn't looked at."""
        self._expects_head = False
        end = data.find(b"\r\n\r\n") + 4
        if CODED.search(data, 0, end):
            return end
        self._stands_aside = True
        return len(data)

    def _rest(self, rest: bytes) -> bytes:
        """Return what is behind the whole chunks, having seen how to go on from there."""
        if found := SIZE.match(rest):
            size = int(found[1], 16)
            self._left = max(0, found.end() + size + 2 - len(rest)) if size else 0
            self._stands_aside = not self._left
        elif BEGUN_SIZE.fullmatch(rest):
            self._held, rest = rest, b""
        elif rest:
            self._stands_aside = True
        return rest


def _whole_chunks(data: bytes, begin: int) -> tuple[list[bytes], int]:
    """Return what the whole chunks have that begin here, and where they end."""
    contents: list[bytes] = []
    end = begin
    while found := SIZE.match(data, end):
        start = found.end()
        stop = start + int(found[1], 16)
        if stop == start or data[stop : stop + 2] != b"\r\n":
            break
        contents.append(data[start:stop])
        end = stop + 2
    return contents, end
