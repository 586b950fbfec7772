"""`ChatLlamaDashScope`: LangChain's chat model over `Client`."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, ClassVar, Final, Literal, cast

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import LangSmithParams, LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PrivateAttr, SecretStr

from llama_dashscope import (
    Choice,
    Chunk,
    Client,
    InvalidRequestError,
    Message,
    Options,
    Response,
    Timeout,
)
from llama_dashscope._frameworks import call_options, make_client
from llama_dashscope._frameworks import tool_choice as which_tool

from ._messages import answer, call_chunks, conversation, usage_metadata

__all__ = ["ChatLlamaDashScope"]

PARAMETERS: Final = (
    *("temperature", "top_p", "top_k", "max_tokens", "seed"),
    *("presence_penalty", "repetition_penalty", "n"),
)
"""Fields of the model that go into every call."""

METHODS: Final = ("function_calling", "json_mode", "json_schema")
"""The ways to get structured output."""

FORMAT: Final = "ls_structured_output_format"
"""The keyword argument that tells LangSmith about the requested format."""

NOT_SENT: Final = frozenset({"model", "stream", FORMAT})
"""Keyword arguments of `invoke` that are not parameters of the request."""


class ChatLlamaDashScope(BaseChatModel):
    """A Llama text model on DashScope, as LangChain's chat model.

    Errors are those of this package: a rate limit is `llama_dashscope.RateLimitError` here too.
    Keyword arguments of `invoke` and `bind` that `Client.call` also has (`temperature`, `stop`,
    `timeout`, `headers`, ...) override the fields below; others go into the request's `parameters`.
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
    n: int | None = None
    """How many answers to return; a stream only has the first."""
    stop: list[str] | str | None = Field(
        default=None, validation_alias=AliasChoices("stop", "stop_sequences")
    )
    """Text that ends the answer."""
    parameters: dict[str, Any] = Field(
        default_factory=dict, validation_alias=AliasChoices("parameters", "model_kwargs")
    )
    """Parameters that have no field here; sent unchanged in the request's `parameters`."""
    streaming: bool = False
    """Whether `invoke` streams its answer too, for callbacks. In LangChain, setting it explicitly
    to False means that `stream` doesn't stream either."""

    api_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("api_key", "dashscope_api_key")
    )
    """The key; by default from the environment or a file, as for `Client`."""
    base_url: str | None = None
    """The service's address up to and including `/api/v1`."""
    workspace: str | None = None
    """Id of the workspace that calls belong to."""
    timeout: float | Timeout | None = None
    """Time limits of a call, as for `Client`: seconds, or a `Timeout`."""
    max_retries: int | None = None
    """The number of retries; by default 2."""
    client: Client | None = Field(default=None, exclude=True, repr=False)
    """Your own client, used instead of key, base_url, workspace and max_retries; you close it."""

    _made: Client | None = PrivateAttr(default=None)

    @property
    def _llm_type(self) -> str:
        return "llama-dashscope"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {
            "model": self.model,
            **self._parameters(),
            "stop_sequences": self.stop,  # LangChain uses `stop` for a call's own argument
            "parameters": self.parameters,
            "base_url": self.base_url,
        }

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The environment variable for each secret field of a serialised model."""
        return {"api_key": "DASHSCOPE_API_KEY"}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = LangSmithParams(
            ls_provider="dashscope",
            ls_model_name=kwargs.get("model", self.model),
            ls_model_type="chat",
        )
        temperature = kwargs.get("temperature", self.temperature)
        max_tokens = kwargs.get("max_tokens", self.max_tokens)
        if temperature is not None:
            params["ls_temperature"] = temperature
        if max_tokens is not None:
            params["ls_max_tokens"] = max_tokens
        if ends := stop or self.stop:
            params["ls_stop"] = [ends] if isinstance(ends, str) else ends
        return params

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del run_manager
        model, options = self._call(messages, stop, kwargs)
        return _result(model, self._client().call(model, **options))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del run_manager
        model, options = self._call(messages, stop, kwargs)
        return _result(model, await self._client().acall(model, **options))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        model, options = self._call(messages, stop, kwargs)
        with self._client().stream(model, **options) as stream:
            for chunk in stream:
                if made := _part(chunk):
                    if run_manager:
                        run_manager.on_llm_new_token(chunk.delta, chunk=made)
                    yield made
            yield _last_part(model, stream.response)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        model, options = self._call(messages, stop, kwargs)
        async with self._client().astream(model, **options) as stream:
            async for chunk in stream:
                if made := _part(chunk):
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.delta, chunk=made)
                    yield made
            yield _last_part(model, stream.response)

    def _client(self) -> Client:
        """Return the user's client, or else one that is made when it is first needed."""
        if self.client is not None:
            return self.client
        if self._made is None:
            self._made = make_client(self)
        return self._made

    def _parameters(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in PARAMETERS}
        return {name: value for name, value in named.items() if value is not None}

    def _call(
        self, messages: list[BaseMessage], stop: list[str] | None, given: Mapping[str, Any]
    ) -> tuple[str, Options]:
        """Return the model and the options of a call; its arguments override this object's."""
        fields = {**self._parameters(), "stop": self.stop or None, "timeout": self.timeout}
        asked = {name: value for name, value in given.items() if name not in NOT_SENT}
        if stop:
            asked["stop"] = stop
        options = call_options(self.parameters, fields, asked)
        options["messages"] = conversation(messages)
        model: str = given.get("model") or self.model
        return model, cast("Options", options)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: dict[str, Any] | str | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Let the model call tools.

        Args:
            tools: functions, LangChain tools, Pydantic classes, TypedDicts, or the service's dicts.
            tool_choice: `auto`, `none`, the name of the tool to call, or the service's dict. `any`
                and True force a call: of the tool by name if there is only one, otherwise by
                `required`, which the service documents for none of its models.
            **kwargs: further arguments of the call.
        """
        made = [convert_to_openai_tool(tool) for tool in tools]
        choice = which_tool([each["function"]["name"] for each in made], tool_choice)
        if choice is not None:
            kwargs["tool_choice"] = choice
        return super().bind(tools=made, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        method: Literal["function_calling", "json_mode", "json_schema"] = "function_calling",
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Get answers as objects of a schema.

        Args:
            schema: a Pydantic class, a TypedDict, or a JSON schema.
            include_raw: whether to return a dict of `raw`, `parsed` and `parsing_error`, instead of
                raising an error if an answer does not fit.
            method: `function_calling` makes the model call a tool with this schema; `json_mode` and
                `json_schema` send a `response_format`, which the service documents for none of its
                Llama models.
            **kwargs: further arguments of the call, such as `strict`; sent with the request.

        Raises:
            InvalidRequestError: there is no such method.
        """
        if method not in METHODS:
            msg = f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}"
            raise InvalidRequestError(msg)
        if method == "function_calling":
            return super().with_structured_output(schema, include_raw=include_raw, **kwargs)
        wanted: dict[str, Any] = {"type": "json_object"}
        if method == "json_schema":
            form = convert_to_json_schema(schema)
            wanted = {
                "type": "json_schema",
                "json_schema": {"name": form.get("title", "answer"), "schema": form},
            }
        parser: Runnable[Any, Any] = JsonOutputParser()
        if isinstance(schema, type) and is_basemodel_subclass(schema):
            parser = PydanticOutputParser[Any](pydantic_object=schema)
        tracing = {"kwargs": {"method": method}, "schema": schema}
        model = super().bind(response_format=wanted, **{FORMAT: tracing}, **kwargs)
        if not include_raw:
            return model | parser
        parsed = RunnablePassthrough.assign(
            parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
        ).with_fallbacks(
            [RunnablePassthrough.assign(parsed=lambda _: None)], exception_key="parsing_error"
        )
        return RunnableMap(raw=model) | parsed


def _metadata(model: str, response: Response, reason: str | None) -> dict[str, Any]:
    return {
        "model_name": model,
        "model_provider": "dashscope",
        "finish_reason": reason,
        "request_id": response.request_id,
    }


def _result(model: str, response: Response) -> ChatResult:
    said = response.output.choices or (
        Choice(response.finish_reason, Message("assistant", response.text)),
    )
    generations: list[ChatGeneration] = []
    for place, choice in enumerate(said):
        metadata = _metadata(model, response, choice.finish_reason)
        usage = response.usage if place == 0 else None  # it is the sum of all answers
        generations.append(ChatGeneration(message=answer(choice.message, usage, metadata)))
    return ChatResult(generations=generations, llm_output={"model_name": model})


def _part(chunk: Chunk) -> ChatGenerationChunk | None:
    """Return what a chunk adds to the first answer; None if it adds nothing."""
    reasoning = chunk.extra.get("reasoning_content")
    if chunk.index or not (chunk.delta or reasoning):
        return None
    extra = {"reasoning_content": reasoning} if reasoning else {}
    message = AIMessageChunk(content=chunk.delta, additional_kwargs=extra)
    return ChatGenerationChunk(message=message)


def _last_part(model: str, response: Response) -> ChatGenerationChunk:
    """Return what is known at the end: complete tool calls, usage and metadata."""
    message = AIMessageChunk(
        content="",
        tool_call_chunks=call_chunks(response.tool_calls),
        usage_metadata=usage_metadata(response.usage),
        response_metadata=_metadata(model, response, response.finish_reason),
        chunk_position="last",
    )
    return ChatGenerationChunk(message=message)
