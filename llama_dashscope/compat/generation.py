"""`Generation` and `AioGeneration`, with the official SDK's arguments and responses.

This module only translates: arguments become a request body for the shared client, and errors of
the service become responses. The reference is the official SDK's release 2.0.2;
tests/compat/differential compares the two.
"""

from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from functools import partial
from typing import Any, Literal, overload

import attrs

from llama_dashscope._client.call import Call
from llama_dashscope._client.streams import AsyncStream, Stream
from llama_dashscope._client.sync_bridge import run_sync
from llama_dashscope._errors import APIStatusError
from llama_dashscope._protocol.arguments import CallArguments
from llama_dashscope._protocol.options import MessageLike

from ._arguments import (
    InputRequired,
    ModelRequired,
    QwenModels,
    make_payload,
    take_headers,
    take_parameters,
)
from ._process_client import ProcessClient, find_key, shared_client
from ._responses import frame_responses, growing_responses, refused, whole_response
from .response_types import GenerationResponse

__all__ = ["AioGeneration", "Generation", "InputRequired", "ModelRequired"]


class Generation:
    """The official SDK's class of this name, with this package's connections.

    All callers in a process share one client, which is made with the first call.
    """

    Models = QwenModels

    @overload
    @classmethod
    def call(
        cls,
        model: str,
        prompt: object = None,
        history: object = None,
        api_key: str | None = None,
        messages: Iterable[MessageLike] | None = None,
        plugins: str | Mapping[str, Any] | None = None,
        workspace: str | None = None,
        *,
        stream: Literal[True],
        **parameters: object,
    ) -> Generator[GenerationResponse, None, None]: ...
    @overload
    @classmethod
    def call(
        cls,
        model: str,
        prompt: object = None,
        history: object = None,
        api_key: str | None = None,
        messages: Iterable[MessageLike] | None = None,
        plugins: str | Mapping[str, Any] | None = None,
        workspace: str | None = None,
        stream: Literal[False] | None = None,
        *values: object,
        **parameters: object,
    ) -> GenerationResponse: ...
    @overload
    @classmethod
    def call(
        cls,
        model: str,
        prompt: object = None,
        history: object = None,
        api_key: str | None = None,
        messages: Iterable[MessageLike] | None = None,
        plugins: str | Mapping[str, Any] | None = None,
        workspace: str | None = None,
        stream: bool | None = None,  # the official SDK's order
        *values: object,
        **parameters: object,
    ) -> GenerationResponse | Generator[GenerationResponse, None, None]: ...
    @classmethod
    def call(
        cls, *arguments: Any, **keywords: Any
    ) -> GenerationResponse | Generator[GenerationResponse, None, None]:
        """Ask a model; an error of the service is returned as a response, not raised.

        Args:
            *arguments: in the official SDK's order: model, prompt, history, api_key, messages,
                plugins, workspace, stream, and then the parameters from temperature on.
            **keywords: the same by name. `model` is sent as given. `messages` is the conversation;
                if `prompt` is given too, it becomes the last message. `history` is the old form of
                a conversation and is used with `prompt` only. `api_key` and `workspace` are for
                this call. `plugins` goes into the header X-DashScope-Plugin. `request_timeout` is
                the longest wait for data, in seconds. `headers` are added to the call's headers.
                `base_address` is the base URL for this call. Every other keyword is a parameter of
                the request.

        Returns:
            A `GenerationResponse`, which is a dict. With `stream=True`, a generator of them, one
            for each frame: each has all the text so far, or only the new text with
            `incremental_output=True`. The response of an error has `status_code`, `code`, `message`
            and `request_id`; its output is None.

        Raises:
            InputRequired: there is neither prompt nor messages.
            ModelRequired: there is no model.
            InvalidRequestError: an argument was refused; nothing was sent.
            ConfigurationError: there is no key.
            APIConnectionError: there was no answer, it came too late, or the connection broke.
            ResponseError: the answer does not follow the protocol.
            IncompleteResponseError: the answer ended early; `partial_text` has the text received.
        """
        try:
            asked = _ask(*arguments, **keywords)
        finally:
            del arguments, keywords  # the key is among them, and error reports show local variables
        if asked.call.payload.streaming:
            return _responses(asked.client.read(asked.call))
        return run_sync(partial(_response, asked))

    @overload
    @classmethod
    async def acall(
        cls,
        model: str,
        prompt: object = None,
        history: object = None,
        api_key: str | None = None,
        messages: Iterable[MessageLike] | None = None,
        plugins: str | Mapping[str, Any] | None = None,
        workspace: str | None = None,
        *,
        stream: Literal[True],
        **parameters: object,
    ) -> AsyncGenerator[GenerationResponse, None]: ...
    @overload
    @classmethod
    async def acall(
        cls,
        model: str,
        prompt: object = None,
        history: object = None,
        api_key: str | None = None,
        messages: Iterable[MessageLike] | None = None,
        plugins: str | Mapping[str, Any] | None = None,
        workspace: str | None = None,
        stream: Literal[False] | None = None,
        *values: object,
        **parameters: object,
    ) -> GenerationResponse: ...
    @overload
    @classmethod
    async def acall(
        cls,
        model: str,
        prompt: object = None,
        history: object = None,
        api_key: str | None = None,
        messages: Iterable[MessageLike] | None = None,
        plugins: str | Mapping[str, Any] | None = None,
        workspace: str | None = None,
        stream: bool | None = None,  # the official SDK's order
        *values: object,
        **parameters: object,
    ) -> GenerationResponse | AsyncGenerator[GenerationResponse, None]: ...
    @classmethod
    async def acall(
        cls, *arguments: Any, **keywords: Any
    ) -> GenerationResponse | AsyncGenerator[GenerationResponse, None]:
        """Ask a model, in async code; with `stream=True` returns an async generator. See `call`."""
        try:
            asked = _ask(*arguments, **keywords)
        finally:
            del arguments, keywords  # as in `Generation.call`
        return await _areply(asked)


class AioGeneration:
    """The official SDK's async class of this name."""

    Models = QwenModels

    @overload
    @classmethod
    async def call(
        cls,
        model: str,
        prompt: object = None,
        history: object = None,
        api_key: str | None = None,
        messages: Iterable[MessageLike] | None = None,
        plugins: str | Mapping[str, Any] | None = None,
        workspace: str | None = None,
        *,
        stream: Literal[True],
        **parameters: object,
    ) -> AsyncGenerator[GenerationResponse, None]: ...
    @overload
    @classmethod
    async def call(
        cls,
        model: str,
        prompt: object = None,
        history: object = None,
        api_key: str | None = None,
        messages: Iterable[MessageLike] | None = None,
        plugins: str | Mapping[str, Any] | None = None,
        workspace: str | None = None,
        stream: Literal[False] | None = None,
        *values: object,
        **parameters: object,
    ) -> GenerationResponse: ...
    @overload
    @classmethod
    async def call(
        cls,
        model: str,
        prompt: object = None,
        history: object = None,
        api_key: str | None = None,
        messages: Iterable[MessageLike] | None = None,
        plugins: str | Mapping[str, Any] | None = None,
        workspace: str | None = None,
        stream: bool | None = None,  # the official SDK's order
        *values: object,
        **parameters: object,
    ) -> GenerationResponse | AsyncGenerator[GenerationResponse, None]: ...
    @classmethod
    async def call(
        cls, *arguments: Any, **keywords: Any
    ) -> GenerationResponse | AsyncGenerator[GenerationResponse, None]:
        """Ask a model; with `stream=True` returns an async generator. See `Generation.call`."""
        try:
            asked = _ask(*arguments, **keywords)
        finally:
            del arguments, keywords  # as in `Generation.call`
        return await _areply(asked)


@attrs.frozen
class _PreparedGeneration:
    """A prepared call, and the client that makes it."""

    client: ProcessClient
    call: Call[GenerationResponse]


async def _response(asked: _PreparedGeneration) -> GenerationResponse:
    try:
        return await asked.client.answer(asked.call, whole_response)
    except APIStatusError as error:
        return refused(error)


async def _areply(
    asked: _PreparedGeneration,
) -> GenerationResponse | AsyncGenerator[GenerationResponse, None]:
    if asked.call.payload.streaming:
        return _aresponses(asked.client.read(asked.call))
    return await _response(asked)


async def _aresponses(
    stream: AsyncStream[GenerationResponse],
) -> AsyncGenerator[GenerationResponse, None]:
    try:
        async with stream:
            async for response in stream:
                yield response
    except APIStatusError as error:
        yield refused(error)


def _responses(
    stream: AsyncStream[GenerationResponse],
) -> Generator[GenerationResponse, None, None]:
    try:
        with Stream(stream, run_sync) as responses:
            yield from responses
    except APIStatusError as error:
        yield refused(error)


def _ask(  # the official SDK's order
    model: str,
    prompt: object = None,
    history: object = None,
    api_key: str | None = None,
    messages: Iterable[MessageLike] | None = None,
    plugins: str | Mapping[str, Any] | None = None,
    workspace: str | None = None,
    stream: bool | None = None,  # see above
    *values: object,
    **named: object,
) -> _PreparedGeneration:
    """Read the arguments of a call and prepare it."""
    if not prompt and not messages:
        msg = "prompt or messages is required!"
        raise InputRequired(msg)
    if not model:
        msg = "Model is required!"
        raise ModelRequired(msg)
    parameters = take_parameters(values, named)
    address = parameters.pop("base_address", None)
    try:
        arguments = CallArguments(
            api_key=find_key(api_key),
            workspace=workspace,
            timeout=parameters.pop("request_timeout", None),
            headers=take_headers(parameters, plugins, streaming=bool(stream)),
        )
    finally:
        del api_key  # as in `Generation.call`
    growing = parameters.get("incremental_output") is False
    payload = make_payload(model, prompt, history, messages, parameters, streaming=bool(stream))
    client = shared_client(address)
    return _PreparedGeneration(
        client,
        client.prepare(payload, arguments, growing_responses if growing else frame_responses),
    )
