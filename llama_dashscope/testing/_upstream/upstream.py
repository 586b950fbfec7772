"""A real model behind the local DashScope: any server that speaks OpenAI's chat completions."""

import json
import os
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from llama_dashscope._environment import find_proxy
from llama_dashscope._errors import APIConnectionError, APITimeoutError
from llama_dashscope._network.interface import HTTPRequest, TransportResponse
from llama_dashscope._network.selection import select_transport
from llama_dashscope._protocol.sse import Decoder
from llama_dashscope._settings import Limits, Network, Timeout
from llama_dashscope.testing._service import responses
from llama_dashscope.testing._service.received_request import ReceivedRequest, as_dict
from llama_dashscope.testing._service.response_plan import BodyPart, ResponsePlan
from llama_dashscope.testing._service.rules import Refusal
from llama_dashscope.testing._upstream import openai_dialect

from .openai_dialect import ChatFrames, UpstreamError

_PATH = "/chat/completions"
_DONE = b"[DONE]"
_REFUSED = 400


class Upstream:
    """Lets a real model answer: `server.reply(Upstream("http://127.0.0.1:8080/v1"))`.

    Works with any OpenAI-compatible chat server: llama.cpp, Ollama, vLLM, DashScope's own
    compatible mode. When the client leaves, the upstream's connection is closed at once, so that
    the model stops.

    Args:
        url: the server's address up to `/chat/completions`.
        model: the model's name there; None for the name that the client asks for.
        api_key: the key for it, if it wants one.
        timeout: the longest silence to put up with, in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        timeout: float = 300.0,
    ) -> None:
        self._url = url.rstrip("/").removesuffix(_PATH) + _PATH
        self._model, self._timeout = model, Timeout(connect=10.0, read=timeout, idle=timeout)
        self._headers = [("content-type", "application/json")]
        if api_key:
            self._headers.append(("authorization", f"Bearer {api_key}"))

    def __repr__(self) -> str:
        return f"Upstream({self._url.removesuffix(_PATH)!r}, model={self._model!r})"

    async def __call__(self, request: ReceivedRequest) -> ResponsePlan:
        """Answer one request of a client of DashScope."""
        request_id = str(uuid.uuid4())
        if request.streaming:
            return responses.stream_answer(request, self._stream(request, request_id), request_id)
        try:
            payload = openai_dialect.from_chat(await self._call(request), request, request_id)
        except UpstreamError as error:
            headers = (("retry-after", error.retry_after),) if error.retry_after else ()
            return responses.refusal(request, error.problem, request_id, headers=headers)
        return responses.json_answer(request, payload)

    async def _call(self, request: ReceivedRequest) -> dict[str, Any]:
        async with self._send(request) as reply:
            return _json(await _read_all(reply, self._timeout.idle))

    async def _stream(
        self, request: ReceivedRequest, request_id: str
    ) -> AsyncGenerator[BodyPart, None]:
        number = 0
        try:
            async with aclosing(self._payloads(request, request_id)) as payloads:
                async for payload in payloads:
                    number += 1
                    yield BodyPart(responses.frame(number, payload))
        except UpstreamError as error:
            payload = responses.error_payload(error.problem, request_id)
            yield BodyPart(responses.frame(number + 1, payload, error.problem.status, "error"))

    async def _payloads(
        self, request: ReceivedRequest, request_id: str
    ) -> AsyncGenerator[responses.Payload, None]:
        frames = ChatFrames(request, request_id)
        async with (
            self._send(request) as reply,
            aclosing(_chunks(reply, self._timeout.idle)) as chunks,
        ):
            async for chunk in chunks:
                for payload in frames.feed(chunk):
                    yield payload
        yield frames.end()

    @asynccontextmanager
    async def _send(self, request: ReceivedRequest) -> AsyncGenerator[TransportResponse, None]:
        """Ask the upstream; a connection serves one request, so leaving early ends it."""
        chat = responses.to_json(openai_dialect.to_chat(request, self._model))
        proxy = find_proxy(self._url, os.environ)
        carrier = select_transport(Network(self._url, proxy, True, True, Limits(), "httpx"))  # noqa: FBT003
        try:
            reply = await carrier.send(
                HTTPRequest(
                    self._url, self._headers, chat, self._timeout, frozenset({"retry-after"})
                )
            )
            if reply.status >= _REFUSED:
                raise _refused(reply, await _read_all(reply, self._timeout.idle))
            yield reply
        except APITimeoutError as error:
            raise UpstreamError(Refusal(500, "RequestTimeOut", f"The upstream: {error}")) from error
        except APIConnectionError as error:
            unavailable = Refusal(503, "ModelUnavailable", f"The upstream: {error}")
            raise UpstreamError(unavailable) from error
        finally:
            await carrier.aclose()


async def _chunks(
    reply: TransportResponse, limit: float | None
) -> AsyncGenerator[dict[str, Any], None]:
    decoder = Decoder()
    while data := await reply.read(limit):
        for event in decoder.feed(data):
            if event.data.strip() == _DONE:
                return
            yield _json(event.data)
    for event in decoder.finish():
        yield _json(event.data)


async def _read_all(reply: TransportResponse, limit: float | None) -> bytes:
    body = bytearray()
    while data := await reply.read(limit):
        body += data
    return bytes(body)


def _refused(reply: TransportResponse, body: bytes) -> UpstreamError:
    try:
        said = _json(body)
    except UpstreamError:  # some gateway's page; the status says enough
        said = {}
    return UpstreamError(
        openai_dialect.problem(reply.status, said), reply.headers.get("retry-after")
    )


def _json(data: bytes) -> dict[str, Any]:
    try:
        return as_dict(json.loads(data))
    except ValueError:
        raise UpstreamError(Refusal(500, "InternalError", "The upstream sent no JSON.")) from None
