"""`Call`: one request, with everything needed to send it and to read its answer."""

from collections.abc import Mapping
from typing import Generic

import attrs

from llama_dashscope._protocol.failure import READ_HEADERS
from llama_dashscope._protocol.request import PATH, Payload, request_headers
from llama_dashscope._protocol.stream_parser import Item, MakeItems
from llama_dashscope._settings import ApiKey, Timeout

from .pacer import Pacer
from .retry import Retry

__all__ = ["Call"]


@attrs.define
class Call(Generic[Item]):
    """One request, which may be sent several times; to the network it is an `HTTPRequest`."""

    base_url: str
    payload: Payload
    key: ApiKey
    workspace: str | None
    timeout: Timeout
    extra_headers: Mapping[str, str] = attrs.field(repr=False)
    """The client's and the caller's own headers, with names in lower case."""
    make_items: MakeItems[Item] = attrs.field(repr=False)
    """Makes the items of a stream from its frames."""
    wanted: frozenset[str] | None = READ_HEADERS
    """Names of the response headers that are read; None for all."""
    pace: Pacer | None = None
    """The pace for this call; None for the client's."""
    retry: Retry | None = None
    """The retry policy for this call; None for the client's."""

    @property
    def url(self) -> str:
        """The URL that it is sent to."""
        return self.base_url + PATH

    @property
    def headers(self) -> list[tuple[str, str]]:
        """All its headers, the key among them."""
        headers = request_headers(self.key, self.workspace, streaming=self.payload.streaming)
        return list({**headers, **self.extra_headers}.items())

    @property
    def body(self) -> bytes:
        """The request body."""
        return self.payload.body
