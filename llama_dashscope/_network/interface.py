"""The interface between the client and its transports: requests, responses, byte streams."""

from collections.abc import Coroutine, Mapping
from typing import Any, Final, Protocol

from llama_dashscope._settings import ApiKey, Timeout

__all__ = [
    "CONTENT_ENCODING",
    "LARGEST_HEAD",
    "ByteStream",
    "HTTPRequest",
    "Transport",
    "TransportResponse",
]

CONTENT_ENCODING: Final = "content-encoding"
"""The response header that names the compression of a body."""

LARGEST_HEAD: Final = 100 << 10
"""Size in bytes up to which the head of an answer is accepted; some gateways send many headers."""


class HTTPRequest(Protocol):
    """A POST request."""

    @property
    def url(self) -> str:
        """The URL that it is sent to."""
        ...

    @property
    def key(self) -> ApiKey:
        """The API key, which errors must not show."""
        ...

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Its headers, with names in lower case; the key is among them."""
        ...

    @property
    def body(self) -> bytes:
        """Its body."""
        ...

    @property
    def timeout(self) -> Timeout:
        """Its time limits; the transport enforces `connect` and `read`."""
        ...

    @property
    def wanted(self) -> frozenset[str] | None:
        """Names of the response headers to keep, in lower case; None for all."""
        ...


class ByteStream(Protocol):
    """The bytes of an answer, as they arrive."""

    def read(self, limit: float | None) -> Coroutine[Any, Any, bytes]:
        """Return the next bytes, none at the end; those of a transport may be compressed.

        Args:
            limit: longest wait in seconds; None for no limit.

        Raises:
            APITimeoutError: the time limit was exceeded.
            APIConnectionError: the connection broke.
        """
        ...

    async def aclose(self) -> None:
        """Release the connection: for reuse after the end of the body, else it is closed."""
        ...


class TransportResponse(ByteStream, Protocol):
    """An answer whose body has not been read yet."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers by their lower-case names: at least `wanted` and Content-Encoding."""
        ...


class Transport(Protocol):
    """Sends requests and receives answers; opens as many connections as it needs."""

    async def send(self, request: HTTPRequest) -> TransportResponse:
        """Send a request and wait for the head of its answer."""
        ...

    async def aclose(self) -> None:
        """Close every connection, those in use too."""
        ...
