"""The requests that the service refuses, each with status, code and message.

Codes and messages are from the service's public table of error codes and from recorded answers.
Messages marked "ours" are this server's own, since no public source has them.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from attrs import frozen

from llama_dashscope._catalog import MODELS, Model
from llama_dashscope.testing._service import tokenizer

from .received_request import ReceivedRequest, as_list


@frozen
class Refusal:
    """Why a request is refused."""

    status: int
    code: str
    message: str
    before_model: bool = False
    """Whether it is refused before the model is reached: by HTTP status, even for a stream."""


def _invalid(message: str) -> Refusal:
    return Refusal(400, "InvalidParameter", message)


INVALID_KEY = Refusal(401, "InvalidApiKey", "Invalid API-key provided.", before_model=True)
NO_KEY = Refusal(401, "InvalidApiKey", "No API-key provided.", before_model=True)
NOT_JSON = Refusal(
    400, "BadRequest.IllegalInput", "The input parameter requires json format.", before_model=True
)
NO_ASYNC = Refusal(
    403, "AccessDenied", "current user api does not support asynchronous calls.", before_model=True
)
NO_MODEL = Refusal(
    400,
    "BadRequest.EmptyModel",
    'Required parameter "model" missing from request.',
    before_model=True,
)
NO_INPUT = Refusal(400, "BadRequest.EmptyInput", "Required input parameter missing from request.")
UNKNOWN_MODEL = Refusal(404, "ModelNotFound", "Model can not be found.")
NEITHER = _invalid('Either "prompt" or "messages" must exist and cannot both be none')
MISSING = _invalid("Required parameter(s) missing or invalid, please check the request parameters.")
ROLE_OR_CONTENT = _invalid(
    "Role must be user or assistant and Content length must be greater than 0"
)
NOT_A_STRING = _invalid("input content must be a string.")
MESSAGES_ONLY = _invalid("This model only supports messages, not prompt.")  # ours
LAST_NOT_USER = Refusal(500, "InternalError.Algo", "list index out of range")
NO_TOOLS_IN_TEXT = _invalid("The tool call is not supported.")
INCREMENTAL_CALL = _invalid("incremental_output is only supported in stream mode.")  # ours

_ROLES = frozenset({"system", "user", "assistant", "tool"})
_UNLISTED = Model("", 32_000, 30_000)  # for names that only this server accepts
_INT_64 = 2**63 - 1
_MAX_TEMPERATURE, _MAX_PENALTY, _MAX_N = 2, 2, 4


@frozen
class Rules:
    """Decides whether a request is accepted."""

    api_keys: Collection[str]
    models: Collection[str] | None
    """Accepted model names, in addition to the catalogue; None for any name."""

    def check(self, request: ReceivedRequest) -> Refusal | None:
        """Return why a request is refused; None if it is accepted."""
        return self._check_gate(request) or self._check_model(request) or _check_call(request)

    def _check_gate(self, request: ReceivedRequest) -> Refusal | None:
        if request.api_key is None:
            return NO_KEY
        if request.api_key not in self.api_keys:
            return INVALID_KEY
        if not isinstance(request.json, dict):
            return NOT_JSON
        if request.headers.get("x-dashscope-async", "").lower() == "enable":
            return NO_ASYNC
        return None if request.model and request.model.strip() else NO_MODEL

    def _check_model(self, request: ReceivedRequest) -> Refusal | None:
        known = self.models is None or request.model in {*MODELS, *self.models}
        return None if known else UNKNOWN_MODEL


def _check_call(request: ReceivedRequest) -> Refusal | None:
    model = MODELS.get(request.model or "", _UNLISTED)
    return (
        _check_input(request, model)
        or _check_parameters(request, model)
        or _check_length(request, model)
    )


def _check_input(request: ReceivedRequest, model: Model) -> Refusal | None:
    if "input" not in request.json and "messages" not in request.json:
        return NO_INPUT
    if request.input.get("messages") is not None:
        return _check_messages(request.messages)
    if request.input.get("prompt") is None:
        return NEITHER
    if not request.prompt:
        return _input_length(model)
    return MESSAGES_ONLY if model.takes_prompt is False else None


def _check_messages(messages: list[dict[str, Any]]) -> Refusal | None:
    if not messages:
        return NEITHER
    for index, message in enumerate(messages):
        if problem := _check_message(index, message):
            return problem
    return LAST_NOT_USER if messages[-1]["role"] not in {"user", "tool"} else None


def _check_message(index: int, message: dict[str, Any]) -> Refusal | None:
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in _ROLES:
        return ROLE_OR_CONTENT
    calls_tools = role == "assistant" and message.get("tool_calls")
    if content is not None and not isinstance(content, str):
        # agentscope sends an empty list for a message with only tool calls.
        return None if calls_tools and content == [] else NOT_A_STRING
    late_system = role == "system" and index > 0
    return ROLE_OR_CONTENT if late_system or not (content or calls_tools) else None


def _check_length(request: ReceivedRequest, model: Model) -> Refusal | None:
    length = tokenizer.count_input(request.prompt, request.messages)
    return _input_length(model) if length > model.max_input else None


def _input_length(model: Model) -> Refusal:
    return _invalid(f"Range of input length should be [1, {model.max_input}]")


def _check_parameters(request: ReceivedRequest, model: Model) -> Refusal | None:
    parameters = request.json.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        return MISSING
    for name, (holds, message) in _RANGES.items():
        value = request.parameters.get(name)
        if value is not None and not holds(value):
            return _invalid(message)
    max_tokens = request.parameters.get("max_tokens")
    if max_tokens is not None and not (
        _is_int(max_tokens) and 1 <= max_tokens <= model.context_length
    ):
        return _invalid(f"Range of max_tokens should be [1, {model.context_length}]")
    return _check_combinations(request)


def _check_combinations(request: ReceivedRequest) -> Refusal | None:
    if request.parameters.get("tools") and request.result_format != "message":
        return NO_TOOLS_IN_TEXT
    return INCREMENTAL_CALL if request.incremental and not request.streaming else None


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_stop(value: object) -> bool:
    items = as_list(value)
    if items != value:
        return isinstance(value, str)
    of_ids = all(as_list(item) == item and all(map(_is_int, item)) for item in items)
    return of_ids or all(isinstance(item, str) for item in items) or all(map(_is_int, items))


_RANGES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "result_format": (lambda v: v in ("text", "message"), MISSING.message),
    "incremental_output": (lambda v: isinstance(v, bool), MISSING.message),
    "temperature": (
        lambda v: _is_number(v) and 0 <= v < _MAX_TEMPERATURE,
        "Temperature should be in [0.0, 2.0)",
    ),
    "top_p": (lambda v: _is_number(v) and 0 < v <= 1, "Range of top_p should be (0.0, 1.0]"),
    "top_k": (
        lambda v: _is_int(v) and v >= 0,
        "Parameter top_k be greater than or equal to 0",
    ),
    "seed": (lambda v: _is_int(v) and 0 <= v <= _INT_64, f"Range of seed should be [0, {_INT_64}]"),
    "repetition_penalty": (
        lambda v: _is_number(v) and v > 0,
        "Repetition_penalty should be greater than 0.0",
    ),
    "presence_penalty": (
        lambda v: _is_number(v) and -_MAX_PENALTY <= v <= _MAX_PENALTY,
        "Presence_penalty should be in [-2.0, 2.0]",
    ),
    "n": (lambda v: _is_int(v) and 1 <= v <= _MAX_N, "Range of n should be [1, 4]"),
    "stop": (_is_stop, MISSING.message),
    "tools": (lambda v: isinstance(v, list), MISSING.message),
}
