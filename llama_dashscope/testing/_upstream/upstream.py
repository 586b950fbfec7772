"""`Upstream`: forwards requests of the local DashScope to any server with OpenAI's chat API."""

import json
import os
import ssl
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from attrs import evolve

from llama_dashscope._environment import check_base_url, find_proxy
from llama_dashscope._errors import ConfigurationError
from llama_dashscope._protocol.sse import Decoder, EventTooLargeError
from llama_dashscope.testing._service import responses
from llama_dashscope.testing._service.field_types import expected_by
from llama_dashscope.testing._service.received_request import ReceivedRequest, as_dict, printable
from llama_dashscope.testing._service.response_plan import BodyPart, ResponsePlan
from llama_dashscope.testing._service.rules import Refusal
from llama_dashscope.testing._upstream import openai_dialect

from .openai_dialect import ChatFrames, UpstreamError

if TYPE_CHECKING:  # slow to import, and rarely needed by importers of this module
    import httpx

_PATH = "/chat/completions"
_DONE = b"[DONE]"
_CONNECT_SECONDS = 10.0
_LONGEST_ERROR = 300  # characters


class Upstream:
    """Lets a real model answer: `server.reply(Upstream("http://127.0.0.1:8080/v1"))`.

    Works with any OpenAI-compatible chat server: llama.cpp, Ollama, vLLM, DashScope's own
    compatible mode. When the client disconnects, the connection to the upstream is closed at once,
    so that the model stops.

    Args:
        url: the server's address up to `/chat/completions`.
        model: the model's name there; None for the name that the client requests.
        api_key: the upstream's key, if it needs one.
        timeout: longest wait for data, in seconds.

    Raises:
        ConfigurationError: an argument is invalid; the message names it.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        timeout: float = 300.0,
    ) -> None:
        for name, kind, value in (
            ("model", str | None, model),
            ("api_key", str | None, api_key),
            ("timeout", float, timeout),
        ):
            if expected := expected_by(kind, value):  # the key is not shown
                raise ConfigurationError(f"{name} must be {expected}, got {type(value).__name__}")
        self._url = check_base_url(url, "url").removesuffix(_PATH) + _PATH
        self._model, self._timeout = model, timeout
        self._headers = {"content-type": "application/json"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"

    def __repr__(self) -> str:
        return f"Upstream({self._url.removesuffix(_PATH)!r}, model={self._model!r})"

    async def __call__(self, request: ReceivedRequest) -> ResponsePlan:
        """Answer one request of a DashScope client."""
        request_id = str(uuid.uuid4())
        if request.streaming:
            return responses.stream_answer(request, self._stream(request, request_id), request_id)
        try:
            payload = openai_dialect.from_chat(await self._call(request), request, request_id)
        except UpstreamError as error:
            headers = (("retry-after", error.retry_after),) if error.retry_after else ()
            refusal = responses.refusal(request, error.problem, request_id, headers=headers)
            return evolve(refusal, error=error)
        return responses.json_answer(request, payload)

    async def _call(self, request: ReceivedRequest) -> dict[str, Any]:
        async with self._send(request) as reply:
            return _json(await reply.aread())

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
            yield evolve(responses.error_part(number + 1, error.problem, request_id), error=error)

    async def _payloads(
        self, request: ReceivedRequest, request_id: str
    ) -> AsyncGenerator[responses.Payload, None]:
        frames = ChatFrames(request, request_id)
        async with (
            self._send(request) as reply,
            aclosing(_chunks(reply)) as chunks,
        ):
            async for chunk in chunks:
                for payload in frames.feed(chunk):
                    yield payload
        yield frames.end()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        import httpx  # noqa: PLC0415  # see above

        return httpx.create_ssl_context()  # takes some 20 ms, so it is made once

    @asynccontextmanager
    async def _send(self, request: ReceivedRequest) -> "AsyncGenerator[httpx.Response, None]":
        """Ask the upstream, over a new connection, so that leaving early closes it."""
        import httpx  # noqa: PLC0415  # see above

        chat = responses.to_json(openai_dialect.to_chat(request, self._model))
        proxy = find_proxy(self._url, os.environ)
        timeout = httpx.Timeout(self._timeout, connect=_CONNECT_SECONDS)
        client = httpx.AsyncClient(proxy=proxy, verify=self._tls, timeout=timeout, trust_env=False)
        try:
            async with (
                client,
                client.stream("POST", self._url, content=chat, headers=self._headers) as reply,
            ):
                if reply.is_error:
                    raise _refused(reply, await reply.aread())
                yield reply
        except httpx.TimeoutException as error:
            raise _failed(500, "RequestTimeOut", error) from error
        except httpx.RequestError as error:
            raise _failed(503, "ModelUnavailable", error) from error


async def _chunks(reply: "httpx.Response") -> AsyncGenerator[dict[str, Any], None]:
    decoder = Decoder()
    try:
        async for data in reply.aiter_bytes():
            for event in decoder.feed(data):
                if event.data.strip() == _DONE:
                    return
                yield _json(event.data)
    except EventTooLargeError as error:
        raise UpstreamError(Refusal(500, "InternalError", f"The upstream: {error}")) from error
    for event in decoder.finish():
        yield _json(event.data)


def _refused(reply: "httpx.Response", body: bytes) -> UpstreamError:
    try:
        said = _json(body)
    except UpstreamError:  # a gateway's page; the status is enough
        said = {}
    return UpstreamError(
        openai_dialect.problem(reply.status_code, said), reply.headers.get("retry-after")
    )


def _failed(status: int, code: str, error: "httpx.RequestError") -> UpstreamError:
    what = printable(f"{type(error).__name__}: {error}", _LONGEST_ERROR)
    return UpstreamError(Refusal(status, code, f"The upstream failed with {what}"))


def _json(data: bytes) -> dict[str, Any]:
    try:
        return as_dict(json.loads(data))
    except (ValueError, RecursionError):
        raise UpstreamError(
            Refusal(500, "InternalError", "The upstream sent invalid JSON.")
        ) from None
