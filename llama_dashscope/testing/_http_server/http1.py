"""HTTP/1.1 as bytes: whole requests out of what a socket gives, heads and chunks into it."""

import zlib
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from attrs import frozen

MAX_HEAD = 64 * 1024
_END_OF_HEAD = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class MalformedRequestError(Exception):
    """What arrived is no HTTP/1.1 request, or is too large; `status` says which."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@frozen
class Incoming:
    """One request as it came over the wire."""

    method: str
    target: str
    version: str
    headers: Mapping[str, str]
    """Names in lower case; values of a repeated name are joined by commas."""
    body: bytes


class RequestReader:
    """Collects bytes and gives back whole requests, in order.

    Args:
        max_body: the largest body taken, in bytes.
    """

    def __init__(self, max_body: int) -> None:
        self._max_body = max_body
        self._buffer = bytearray()
        self._head: Incoming | None = None
        self.awaits_continue = False
        """The client has sent a head with `Expect: 100-continue` and waits for a word."""

    def feed(self, data: bytes) -> None:
        """Take in what the socket gave."""
        self._buffer += data

    def take(self) -> Incoming | None:
        """Give back the next whole request, or None while more bytes are needed.

        Raises:
            MalformedRequestError: the bytes can't become a request any more.
        """
        if self._head is None:
            self._head = self._take_head()
        if self._head is None or (body := self._take_body(self._head.headers)) is None:
            return None
        head, self._head, self.awaits_continue = self._head, None, False
        return Incoming(head.method, head.target, head.version, head.headers, body)

    def _take_head(self) -> Incoming | None:
        end = self._buffer.find(_END_OF_HEAD)
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise MalformedRequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return None
        head = _parse_head(bytes(self._buffer[:end]))
        del self._buffer[: end + len(_END_OF_HEAD)]
        self.awaits_continue = head.headers.get("expect", "").lower() == "100-continue"
        return head

    def _take_body(self, headers: Mapping[str, str]) -> bytes | None:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._take_chunks()
        length = _number(headers.get("content-length", "0"), base=10)
        if length > self._max_body:
            raise MalformedRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _take_chunks(self) -> bytes | None:
        body, at = bytearray(), 0
        while (line_end := self._buffer.find(b"\r\n", at)) >= 0:
            size = _number(self._buffer[at:line_end].partition(b";")[0].decode("latin-1"), base=16)
            start, at = line_end + 2, line_end + 2 + size + 2
            if len(body) + size > self._max_body:
                raise MalformedRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            if len(self._buffer) < at:
                break
            body += self._buffer[start : start + size]
            if size == 0:
                del self._buffer[:at]
                return bytes(body)
        return None


def _parse_head(data: bytes) -> Incoming:
    first, *lines = data.decode("latin-1").lstrip("\r\n").split("\r\n")
    parts = first.split(" ")
    if len(parts) != len(("method", "target", "version")) or not parts[2].startswith("HTTP/1."):
        raise MalformedRequestError(HTTPStatus.BAD_REQUEST)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise MalformedRequestError(HTTPStatus.BAD_REQUEST)
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Incoming(parts[0], parts[1], parts[2], headers, b"")


def _number(text: str, base: int) -> int:
    try:
        number = int(text.strip(), base)
    except ValueError:
        number = -1
    if number < 0:
        raise MalformedRequestError(HTTPStatus.BAD_REQUEST)
    return number


def head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """Write a status line and headers."""
    lines = [
        f"HTTP/1.1 {status} {reason(status)}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def reason(status: int) -> str:
    """Name a status as HTTP does, or not at all if HTTP doesn't know it."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def chunk(data: bytes) -> bytes:
    """Frame `data` as one chunk of a chunked body; nothing becomes nothing, not the last chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class GzipStream:
    """A gzip stream that costs little memory, since hundreds of them may run at once."""

    def __init__(self) -> None:
        self._zip = zlib.compressobj(level=1, wbits=16 + 10, memLevel=2)

    def send(self, data: bytes) -> bytes:
        """Compress `data` so that the other side can read all of it now."""
        return self._zip.compress(data) + self._zip.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        """Finish the stream."""
        return self._zip.flush()
