"""HTTP/1.1: h11 parses requests; answers are written without it, since it refuses faulty ones."""

import zlib
from collections.abc import Iterable, Mapping
from http import HTTPStatus

import h11
from attrs import frozen

from llama_dashscope.testing._service.response_plan import reason_phrase

MAX_HEAD = 64 * 1024
LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CRLF = b"\r\n"


class MalformedRequestError(Exception):
    """The bytes are not an HTTP/1.1 request, or it is too large; `status` is the status to send."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@frozen
class Incoming:
    """One request as it was received."""

    method: str
    target: str
    version: str
    headers: Mapping[str, str]
    """Names in lower case; values of a repeated name are joined by commas."""
    body: bytes


class RequestReader:
    """Parses bytes into complete requests, in order.

    Args:
        max_body: the largest accepted body, in bytes.
    """

    def __init__(self, max_body: int) -> None:
        self._max_body = max_body
        self._unread = bytearray()
        self.awaits_continue = False
        """Whether the client has sent `Expect: 100-continue` and waits for `100 Continue`."""
        self._begin()

    @property
    def unread(self) -> int:
        """How many bytes `take` has not processed yet."""
        return len(self._unread)

    def feed(self, data: bytes) -> None:
        """Add bytes from the socket."""
        self._unread += data

    def take(self) -> Incoming | None:
        """Return the next complete request, or None if more bytes are needed.

        Raises:
            MalformedRequestError: the bytes are not a valid request.
        """
        self._pass_on()
        try:
            while not isinstance(event := self._parser.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    self._take_head(event)
                elif isinstance(event, h11.Data):
                    self._take_body(event.data)
                else:
                    return None
        except h11.RemoteProtocolError as error:
            raise MalformedRequestError(error.error_status_hint) from error
        return self._finish()

    def _begin(self) -> None:
        # A new parser for each request: reusing one would require passing it every response.
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._fresh = True
        self._head: h11.Request | None = None
        self._body = bytearray()

    def _pass_on(self) -> None:
        if self._fresh:  # https://www.rfc-editor.org/rfc/rfc9112#section-2.2: ignore an empty line
            if _CRLF.startswith(self._unread):
                return
            if self._unread.startswith(_CRLF):
                del self._unread[: len(_CRLF)]
        if self._unread:
            self._fresh = False
            self._parser.receive_data(bytes(self._unread))
            self._unread.clear()

    def _take_head(self, head: h11.Request) -> None:
        if not head.http_version.startswith(b"1."):
            raise MalformedRequestError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        names = dict(head.headers)
        announced = 0 if b"transfer-encoding" in names else int(names.get(b"content-length", 0))
        self._check_size(announced)
        self._head = head
        self.awaits_continue = self._parser.they_are_waiting_for_100_continue

    def _take_body(self, data: bytes | bytearray) -> None:
        self.awaits_continue = False
        self._check_size(len(self._body) + len(data))
        self._body += data

    def _check_size(self, size: int) -> None:
        if size > self._max_body:
            raise MalformedRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def _finish(self) -> Incoming:
        head, body, (rest, _) = self._head, bytes(self._body), self._parser.trailing_data
        assert head is not None  # noqa: S101  # h11 emits the head before the end
        self.awaits_continue = False
        self._begin()
        self._unread[:0] = rest
        return Incoming(
            head.method.decode(),
            head.target.decode("latin-1"),
            f"HTTP/{head.http_version.decode()}",
            _join(head.headers),
            body,
        )


def _join(headers: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode(), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return a status line and headers as bytes."""
    lines = [
        f"HTTP/1.1 {status} {reason_phrase(status)}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def chunk(data: bytes) -> bytes:
    """Return `data` as one chunk of a chunked body; no data gives no chunk, not the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class GzipStream:
    """A gzip stream with low memory use, since hundreds of them may run at once."""

    def __init__(self) -> None:
        self._zip = zlib.compressobj(level=1, wbits=16 + 10, memLevel=2)

    def send(self, data: bytes) -> bytes:
        """Compress `data` and flush, so that the receiver can read all of it at once."""
        return self._zip.compress(data) + self._zip.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        """Finish the stream."""
        return self._zip.flush()
