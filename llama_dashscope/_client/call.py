"""`Call`: one request on its way, from its arguments to the last item of its answer."""

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


@attrs.frozen
class Call(Generic[Item]):
    """One request, ready to be sent as often as it takes; an `HTTPRequest` for the network."""

    base_url: str
    payload: Payload
    key: ApiKey
    workspace: str | None
    timeout: Timeout
    headers_besides: Mapping[str, str] = attrs.field(repr=False)
    """What the client and the caller add to the service's headers, in lower case."""
    make_items: MakeItems[Item] = attrs.field(repr=False)
    """What makes the items of a stream."""
    wanted: frozenset[str] | None = READ_HEADERS
    """Names of the response headers that are read; None for all."""
    pace: Pacer | None = None
    """Asked before each attempt, instead of the client's."""
    retry: Retry | None = None
    """When to try again, instead of the client's."""

    @property
    def url(self) -> str:
        """Where it goes."""
        return self.base_url + PATH

    @property
    def headers(self) -> list[tuple[str, str]]:
        """All its headers, the key among them."""
        headers = request_headers(self.key, self.workspace, streaming=self.payload.streaming)
        return list({**headers, **self.headers_besides}.items())

    @property
    def body(self) -> bytes:
        """The body that is sent."""
        return self.payload.body
