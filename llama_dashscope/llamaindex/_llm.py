"""`LlamaDashScope`: LlamaIndex's function calling model over `Client`."""

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeVar, cast

from llama_index.core.base.llms.generic_utils import (
    achat_to_completion_decorator,
    astream_chat_to_completion_decorator,
    chat_to_completion_decorator,
    stream_chat_to_completion_decorator,
)
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
    ToolCallBlock,
)
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW, DEFAULT_NUM_OUTPUTS
from llama_index.core.llms.callbacks import (
    llm_chat_callback,  # pyright: ignore[reportUnknownVariableType]  # LlamaIndex types it so:
    llm_completion_callback,  # pyright: ignore[reportUnknownVariableType]  # a bare Callable
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools import BaseTool
from pydantic import AliasChoices, ConfigDict, Field, PrivateAttr, SecretStr

from llama_dashscope import MODELS, Chunk, Client, Options, Response, Timeout
from llama_dashscope._frameworks import call_options, make_client, tool_choice

from ._messages import assistant_message, conversation, selections

__all__ = ["LlamaDashScope"]

PARAMETERS: Final = (
    *("temperature", "top_p", "top_k", "max_tokens", "seed"),
    *("presence_penalty", "repetition_penalty", "stop", "timeout"),
)
"""Fields of the model that go into every call."""

F = TypeVar("F", bound=Callable[..., Any])


def chat_callback(function: F) -> F:
    """Decorate a chat method with LlamaIndex's callbacks and rate limiter."""
    return cast("F", llm_chat_callback()(function))


def completion_callback(function: F) -> F:
    """Decorate a completion method with LlamaIndex's callbacks and rate limiter."""
    return cast("F", llm_completion_callback()(function))


class LlamaDashScope(FunctionCallingLLM):
    """A Llama text model on DashScope, as LlamaIndex's function-calling model.

    Errors are those of this package: a rate limit is `llama_dashscope.RateLimitError` here too.
    Keyword arguments of `chat`, `complete` and their streams that `Client.call` also has
    (`temperature`, `stop`, `timeout`, `headers`, ...) override the fields below; others go into the
    request's `parameters`.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        arbitrary_types_allowed=True, extra="forbid", populate_by_name=True
    )

    model: str = Field(validation_alias=AliasChoices("model", "model_name"))
    """Name of the model, sent as given, such as `llama3.3-70b-instruct`."""
    temperature: float | None = None
    """Sampling temperature: how freely the model chooses its words."""
    top_p: float | None = None
    """Nucleus sampling: the probability mass that tokens are chosen from."""
    top_k: int | None = None
    """Each token is chosen from this many of the likeliest ones."""
    max_tokens: int | None = None
    """Longest answer in tokens."""
    seed: int | None = None
    """Makes answers repeatable, as far as the service can."""
    presence_penalty: float | None = None
    """Above 0 the model repeats less of what it has already said."""
    repetition_penalty: float | None = None
    """Above 1 the model repeats itself less."""
    stop: list[str] | str | None = None
    """Text that ends the answer."""
    additional_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further options of every call, treated like keyword arguments of `chat`."""

    context_window: int | None = None
    """Input and output together, in tokens; by default from `llama_dashscope.MODELS`, or else
    LlamaIndex's default."""
    is_function_calling_model: bool = True
    """Whether the model can call tools; if not, objects are read from its text."""

    api_key: SecretStr | None = Field(default=None, exclude=True)
    """The key; by default from the environment or a file, as for `Client`."""
    base_url: str | None = None
    """The service's address up to and including `/api/v1`."""
    workspace: str | None = None
    """Id of the workspace that calls belong to."""
    timeout: float | Timeout | None = Field(default=None, exclude=True)
    """Time limits of a call, as for `Client`: seconds, or a `Timeout`."""
    max_retries: int | None = None
    """The number of retries; by default 2."""
    client: Client | None = Field(default=None, exclude=True, repr=False)
    """Your own client, used instead of key, base_url, workspace and max_retries; you close it."""

    _made: Client | None = PrivateAttr(default=None)

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the class that LlamaIndex stores when it serialises the model."""
        return "LlamaDashScope"

    @property
    def metadata(self) -> LLMMetadata:
        """The model's properties for LlamaIndex."""
        listed = MODELS.get(self.model)
        window = listed.context_length if listed else DEFAULT_CONTEXT_WINDOW
        return LLMMetadata(
            context_window=self.context_window or window,
            num_output=self.max_tokens or DEFAULT_NUM_OUTPUTS,
            is_chat_model=True,
            is_function_calling_model=self.is_function_calling_model,
            model_name=self.model,
        )

    @chat_callback
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation."""
        return self._chat(messages, **kwargs)

    @chat_callback
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation, without blocking the event loop."""
        return await self._achat(messages, **kwargs)

    @chat_callback
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Answer a conversation as the answer is written; leaving the stream ends the call."""
        return self._stream_chat(messages, **kwargs)

    @chat_callback
    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """Answer a conversation as the answer is written; leaving the stream ends the call."""
        return self._astream_chat(messages, **kwargs)

    @completion_callback
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer a prompt, which is sent as a user's message."""
        del formatted
        return chat_to_completion_decorator(self._chat)(prompt, **kwargs)

    @completion_callback
    async def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponse:
        """Answer a prompt, without blocking the event loop."""
        del formatted
        return await achat_to_completion_decorator(self._achat)(prompt, **kwargs)

    @completion_callback
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        """Answer a text as the answer is written; leaving the stream ends the call."""
        del formatted
        return stream_chat_to_completion_decorator(self._stream_chat)(prompt, **kwargs)

    @completion_callback
    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        """Answer a text as the answer is written; leaving the stream ends the call."""
        del formatted

        async def stream(messages: Sequence[ChatMessage], **more: Any) -> ChatResponseAsyncGen:
            return self._astream_chat(messages, **more)

        return await astream_chat_to_completion_decorator(stream)(prompt, **kwargs)

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Return the tool calls of an answer.

        Raises:
            ValueError: there is none and one is required, or its arguments are not a JSON object.
        """
        del kwargs
        found = selections(response.message)
        if error_on_no_tool_call and not found:
            msg = f"a tool call was expected, but the model said {response.message.content!r}"
            raise ValueError(msg)
        return found

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        del verbose, allow_parallel_tool_calls
        messages = list(chat_history or ())
        if isinstance(user_msg, str):
            user_msg = ChatMessage(role=MessageRole.USER, content=user_msg)
        if user_msg is not None:
            messages.append(user_msg)
        made = [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools]
        wanted = kwargs.pop("tool_choice", None) or tool_required
        names = [each["function"]["name"] for each in made]
        offered = {"tools": made, "tool_choice": tool_choice(names, wanted)} if made else {}
        return {"messages": messages, **offered, **kwargs}

    def _validate_chat_with_tools_response(
        self,
        response: ChatResponse,
        tools: Sequence[BaseTool],
        allow_parallel_tool_calls: bool = False,
        **kwargs: Any,
    ) -> ChatResponse:
        """Keep only the first tool call unless several are allowed; `raw` still has all."""
        del tools, kwargs
        message = response.message
        calls = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
        if not allow_parallel_tool_calls and calls[1:]:
            message.blocks = [block for block in message.blocks if block not in calls[1:]]
            message.additional_kwargs["tool_calls"] = message.additional_kwargs["tool_calls"][:1]
        return response

    def _chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        model, options = self._call(messages, kwargs)
        return _answer(self._client().call(model, **options))

    async def _achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        model, options = self._call(messages, kwargs)
        return _answer(await self._client().acall(model, **options))

    def _stream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> Generator[ChatResponse, None, None]:
        model, options = self._call(messages, kwargs)
        with self._client().stream(model, **options) as stream:
            thoughts = ""
            for chunk in stream:
                thoughts += _thought(chunk)
                if made := _part(chunk, thoughts):
                    yield made
            yield _last_part(stream.response, thoughts)

    async def _astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> AsyncGenerator[ChatResponse, None]:
        model, options = self._call(messages, kwargs)
        async with self._client().astream(model, **options) as stream:
            thoughts = ""
            async for chunk in stream:
                thoughts += _thought(chunk)
                if made := _part(chunk, thoughts):
                    yield made
            yield _last_part(stream.response, thoughts)

    def _client(self) -> Client:
        """Return the user's client, or else one that is made when it is first needed."""
        if self.client is not None:
            return self.client
        if self._made is None:
            self._made = make_client(self)
        return self._made

    def _call(
        self, messages: Sequence[ChatMessage], given: Mapping[str, Any]
    ) -> tuple[str, Options]:
        """Return the model and the options of a call; its arguments override this object's."""
        fields = {name: getattr(self, name) for name in PARAMETERS}
        asked = {**self.additional_kwargs, **given}
        model: str = asked.pop("model", self.model)
        options = call_options(None, fields, asked)
        options["messages"] = conversation(messages)
        return model, cast("Options", options)


def _answer(response: Response) -> ChatResponse:
    choices = response.output.choices
    reasoning = choices[0].message.extra.get("reasoning_content") if choices else None
    return ChatResponse(
        message=assistant_message(response.text, reasoning or "", response.tool_calls),
        raw=response.to_dict(),
    )


def _thought(chunk: Chunk) -> str:
    """Return what a chunk adds to the reasoning of the first answer."""
    return "" if chunk.index else chunk.extra.get("reasoning_content") or ""


def _part(chunk: Chunk, thoughts: str) -> ChatResponse | None:
    """Return the first answer so far; None if the chunk adds nothing to it."""
    thought = _thought(chunk)
    if chunk.index or not (chunk.delta or thought):
        return None
    return ChatResponse(
        message=assistant_message(chunk.text, thoughts, ()),
        delta=chunk.delta,
        additional_kwargs={"thinking_delta": thought} if thought else {},
    )


def _last_part(response: Response, thoughts: str) -> ChatResponse:
    """Return what is known at the end: complete tool calls, and usage in `raw`."""
    message = assistant_message(response.text, thoughts, response.tool_calls)
    return ChatResponse(message=message, delta="", raw=response.to_dict())
