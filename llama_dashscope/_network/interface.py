"""What the client asks of a transport: a request out, a response and its byte stream in."""

from collections.abc import Mapping
from typing import Protocol

import attrs

from llama_dashscope._settings import Timeout

__all__ = ["ByteStream", "HTTPRequest", "Transport", "TransportResponse"]


@attrs.frozen
class HTTPRequest:
    """A request on its way out."""

    url: str
    headers: list[tuple[str, str]] = attrs.field(repr=False)  # the key is among them
    body: bytes = attrs.field(repr=False)
    timeout: Timeout
    wanted: frozenset[str] = frozenset()
    """Names of the response headers to keep, in lower case; the others say nothing."""


class ByteStream(Protocol):
    """The bytes of an answer, as they come."""

    async def read(self, limit: float | None) -> bytes:
        """Return the next bytes, or none at their end.

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
        """Response headers, those that are read at least, found in lower case."""
        ...


class Transport(Protocol):
    """Carries requests out and answers in, over as many connections as it is asked for."""

    async def send(self, request: HTTPRequest) -> TransportResponse:
        """Send a request and wait for the head of its answer."""
        ...

    async def aclose(self) -> None:
        """Close every connection, those in use too."""
        ...
