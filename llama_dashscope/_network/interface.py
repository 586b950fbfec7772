"""What the client asks of a transport: a request out, a response and its byte stream in."""

from collections.abc import Mapping
from typing import Final, Protocol

from llama_dashscope._settings import Timeout

__all__ = [
    "CONTENT_ENCODING",
    "LARGEST_HEAD",
    "ByteStream",
    "HTTPRequest",
    "Transport",
    "TransportResponse",
]

CONTENT_ENCODING: Final = "content-encoding"
"""The response header that says how a body is packed."""

LARGEST_HEAD: Final = 100 << 10
"""Bytes that the head of an answer may have at least; some gateways send much."""


class HTTPRequest(Protocol):
    """A POST request on its way out."""

    @property
    def url(self) -> str:
        """Where it goes."""
        ...

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Its headers, in lower case; the key is among them."""
        ...

    @property
    def body(self) -> bytes:
        """Its body."""
        ...

    @property
    def timeout(self) -> Timeout:
        """Its time limits, of which `connect` and `read` are the transport's to keep."""
        ...

    @property
    def wanted(self) -> frozenset[str] | None:
        """Names of the response headers to keep, in lower case; None for all."""
        ...


class ByteStream(Protocol):
    """The bytes of an answer, as they come."""

    async def read(self, limit: float | None) -> bytes:
        """Return the next bytes, or none at their end; a transport's are packed as they came.

        Args:
            limit: longest silence in seconds; None for no limit.

        Raises:
            APITimeoutError: the silence was longer.
            APIConnectionError: the connection broke.
        """
        ...

    async def aclose(self) -> None:
        """Let go of the connection: to be used again after the body's end, else closed."""
        ...


class TransportResponse(ByteStream, Protocol):
    """An answer whose body is still to come."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers, found in lower case: those wanted at least, and Content-Encoding."""
        ...


class Transport(Protocol):
    """Carries requests out and answers in, over as many connections as it is asked for."""

    async def send(self, request: HTTPRequest) -> TransportResponse:
        """Send a request and wait for the head of its answer."""
        ...

    async def aclose(self) -> None:
        """Close every connection, those in use too."""
        ...
