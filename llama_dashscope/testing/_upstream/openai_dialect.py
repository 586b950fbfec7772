"""Translates between DashScope's API and OpenAI's chat API, in both directions."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import define, field, frozen

from llama_dashscope.testing._service import tokenizer
from llama_dashscope.testing._service.received_request import ReceivedRequest, as_dict, as_list
from llama_dashscope.testing._service.rendering import UNFINISHED
from llama_dashscope.testing._service.responses import Payload
from llama_dashscope.testing._service.rules import Refusal

_SAME = (
    *("temperature", "top_p", "top_k", "max_tokens", "seed", "presence_penalty", "n"),
    *("tools", "tool_choice", "parallel_tool_calls", "response_format", "logprobs", "top_logprobs"),
)
_USAGE_DETAILS = {
    "prompt_tokens_details": "prompt_tokens_details",
    "completion_tokens_details": "output_tokens_details",
}
_FINISH = {"function_call": "tool_calls"}
_CODES = {
    400: "InvalidParameter",
    401: "InvalidApiKey",
    403: "AccessDenied",
    404: "ModelNotFound",
    408: "RequestTimeOut",
    413: "BadRequest.TooLarge",
    422: "InvalidParameter",
    429: "Throttling.RateQuota",
    503: "ModelUnavailable",
}
_FILTERED = Refusal(400, "DataInspectionFailed", "Output data may contain inappropriate content.")


def to_chat(request: ReceivedRequest, model: str | None) -> dict[str, Any]:
    """Return the body of OpenAI's chat request for a DashScope request.

    Args:
        request: the request of a DashScope client.
        model: the model name to send; None for the requested one.
    """
    given = {name: value for name, value in request.parameters.items() if value is not None}
    chat: dict[str, Any] = {"model": model or request.model, "messages": _messages(request)}
    chat |= {name: given[name] for name in _SAME if name in given}
    if "repetition_penalty" in given:  # vLLM's name for it, and llama.cpp's
        chat |= dict.fromkeys(("repetition_penalty", "repeat_penalty"), given["repetition_penalty"])
    stop = given.get("stop")
    if isinstance(stop, str) or as_list(stop):
        of_ids = any(isinstance(each, int) for each in as_list(stop))
        chat["stop_token_ids" if of_ids else "stop"] = stop
    if request.streaming:
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    return chat


def _messages(request: ReceivedRequest) -> list[dict[str, Any]]:
    if request.messages:
        return [_message(message) for message in request.messages]
    turns = [as_dict(turn) for turn in as_list(request.input.get("history"))]
    past = [
        {"role": role, "content": str(turn.get(name, ""))}
        for turn in turns
        for role, name in (("user", "user"), ("assistant", "bot"))
    ]
    return [*past, {"role": "user", "content": request.prompt or ""}]


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    calls = [as_dict(call) for call in as_list(message.get("tool_calls"))]
    fields = {key: value for key, value in message.items() if key != "tool_calls"}
    if calls:  # DashScope numbers tool calls, OpenAI uses their order
        fields["tool_calls"] = [{k: v for k, v in call.items() if k != "index"} for call in calls]
    return fields


def from_chat(chat: Mapping[str, Any], request: ReceivedRequest, request_id: str) -> Payload:
    """Return an upstream's answer as DashScope's payload.

    Raises:
        UpstreamError: a filter withheld the answer, or there is none.
    """
    choices = [as_dict(choice) for choice in as_list(chat.get("choices"))]
    if not choices:
        raise UpstreamError(Refusal(500, "InternalError", "The upstream returned no choices."))
    states = [_ChatChoice(request.result_format == "message") for _ in choices]
    for choice, each in zip(choices, states, strict=True):
        each.add(as_dict(choice.get("message")), choice.get("logprobs"))
        each.finish(str(choice.get("finish_reason") or "stop"))
    usage = _usage(as_dict(chat.get("usage")), request, sum(each.tokens for each in states))
    if request.result_format == "text":
        return {"output": states[0].whole(), "usage": usage, "request_id": request_id}
    output = {"choices": [_numbered(each.whole(), i, len(states)) for i, each in enumerate(states)]}
    return {"output": output, "usage": usage, "request_id": request_id}


class UpstreamError(Exception):
    """The upstream refused or failed; `problem` is the error in DashScope's form."""

    def __init__(self, problem: Refusal, retry_after: str | None = None) -> None:
        super().__init__(problem.message)
        self.problem, self.retry_after = problem, retry_after


def problem(status: int, body: object) -> Refusal:
    """Return an upstream's error in DashScope's form."""
    error = as_dict(body).get("error", body)
    message = as_dict(error).get("message") or (error if isinstance(error, str) else "")
    status = 400 if status == 422 else status
    code = _CODES.get(status, "InternalError" if status >= 500 else "InvalidParameter")
    return Refusal(status, code, str(message) or f"The upstream answered with status {status}.")


@frozen
class _ChoiceContent:
    """The content of a choice: of one frame, of all frames so far, or of the whole answer."""

    text: str = ""
    reasoning: str = ""
    calls: list[dict[str, Any]] = field(factory=list[dict[str, Any]])
    logprobs: list[Any] = field(factory=list[Any])

    def message(self) -> Payload:
        """Return the content as DashScope's message."""
        message: Payload = {"content": self.text, "role": "assistant"}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.calls:
            message["tool_calls"] = self.calls
        return message

    def side_fields(self) -> Payload:
        """Return the fields of a choice next to its message."""
        return {"logprobs": {"content": self.logprobs}} if self.logprobs else {}


def _text(content: object) -> str:
    """Return content as one string; some servers send a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(str(as_dict(part).get("text") or "") for part in as_list(content))


@define
class _ChatChoice:
    """One choice of an answer, as far as it has arrived."""

    as_message: bool
    text: str = ""
    reasoning: str = ""
    calls: dict[int, dict[str, Any]] = field(factory=dict[int, dict[str, Any]])
    logprobs: list[Any] = field(factory=list[Any])
    tokens: int = 0
    finish_reason: str | None = None

    def add(self, delta: Mapping[str, Any], logprobs: object) -> "_ChoiceContent | None":
        """Add a delta and return its content; None if it has none."""
        text = _text(delta.get("content"))
        # vLLM, Ollama and OpenRouter send `reasoning`, llama.cpp `reasoning_content`.
        thought = _text(delta.get("reasoning_content") or delta.get("reasoning"))
        calls = [self._add_call(as_dict(call)) for call in as_list(delta.get("tool_calls"))]
        of_tokens = as_list(as_dict(logprobs).get("content"))
        if not (text or thought or calls or of_tokens):
            return None
        self.text += text
        self.reasoning += thought
        self.logprobs += of_tokens
        self.tokens += 1
        return _ChoiceContent(text, thought, calls, of_tokens)

    def _add_call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        index = call.get("index")
        index = index if isinstance(index, int) else len(self.calls)
        new = as_dict(call.get("function"))
        arguments = new.get("arguments") or ""
        if not isinstance(arguments, str):  # Ollama's native form is an object
            arguments = json.dumps(arguments, ensure_ascii=False)
        if index in self.calls:
            self.calls[index]["function"]["arguments"] += arguments
            part = {"arguments": arguments}
            return {"function": part, "index": index, "id": "", "type": "function"}
        function = {"name": new.get("name") or "", "arguments": arguments}
        whole = {"function": function, "index": index, "id": call.get("id"), "type": "function"}
        self.calls[index] = whole
        return whole | {"function": dict(function)}

    def finish(self, reason: str) -> None:
        """Set the finish_reason.

        Raises:
            UpstreamError: the upstream's content filter withheld the rest.
        """
        if reason == "content_filter":
            raise UpstreamError(_FILTERED)
        self.finish_reason = _FINISH.get(reason, reason)

    def so_far(self) -> "_ChoiceContent":
        """Return the content so far."""
        return _ChoiceContent(self.text, self.reasoning, list(self.calls.values()), self.logprobs)

    def whole(self) -> Payload:
        """Return the complete choice, for an answer that is not streamed."""
        if not self.as_message:
            return {"finish_reason": self.finish_reason, "text": self.text}
        said = self.so_far()
        message = {"role": "assistant"} | said.message()
        return {"finish_reason": self.finish_reason, "message": message, **said.side_fields()}


@define
class ChatFrames:
    """Converts the chunks of OpenAI's stream into payloads of DashScope's frames."""

    request: ReceivedRequest
    request_id: str
    _choices: dict[int, _ChatChoice] = field(factory=dict[int, _ChatChoice])
    _usage: dict[str, Any] = field(factory=dict[str, Any])

    @property
    def finished(self) -> bool:
        """Whether every choice has a finish_reason."""
        reasons = [choice.finish_reason for choice in self._choices.values()]
        return bool(reasons) and None not in reasons

    def feed(self, chunk: Mapping[str, Any]) -> list[Payload]:
        """Add a chunk and return its payloads.

        Raises:
            UpstreamError: the chunk is an error, or a content filter withheld the rest.
        """
        if "error" in chunk:
            raise UpstreamError(problem(_status(chunk["error"]), chunk))
        self._usage |= as_dict(chunk.get("usage"))
        payloads = [self._feed_choice(as_dict(choice)) for choice in as_list(chunk.get("choices"))]
        return [payload for payload in payloads if payload]

    def _feed_choice(self, choice: Mapping[str, Any]) -> Payload | None:
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        state = self._choices.setdefault(
            index, _ChatChoice(self.request.result_format == "message")
        )
        new = state.add(as_dict(choice.get("delta")), choice.get("logprobs"))
        if reason := choice.get("finish_reason"):
            state.finish(str(reason))
        if new is None:
            return None
        return self._payload(
            [(index, new if self.request.incremental else state.so_far(), UNFINISHED)]
        )

    def end(self) -> Payload:
        """Return the payload of the last frame, which has the finish_reasons.

        Raises:
            UpstreamError: the upstream's stream ended before all finish_reasons.
        """
        if not self.finished:
            raise UpstreamError(Refusal(500, "InternalError", "The upstream ended too early."))
        nothing = _ChoiceContent()
        return self._payload(
            (
                index,
                nothing if self.request.incremental else state.so_far(),
                state.finish_reason or "",
            )
            for index, state in sorted(self._choices.items())
        )

    def _payload(self, contents: Iterable[tuple[int, "_ChoiceContent", str]]) -> Payload:
        contents = list(contents)
        if self.request.result_format == "text":
            _, said, reason = contents[0]
            output: Payload = {"finish_reason": reason, "text": said.text}
        else:
            many = max(self.request.parameters.get("n") or 1, len(self._choices))
            output = {
                "choices": [
                    _numbered(
                        {"message": said.message(), "finish_reason": reason, **said.side_fields()},
                        index,
                        many,
                    )
                    for index, said, reason in contents
                ]
            }
        tokens = sum(each.tokens for each in self._choices.values())
        usage = _usage(self._usage, self.request, tokens)
        return {"output": output, "usage": usage, "request_id": self.request_id}


def _numbered(choice: Payload, index: int, many: int) -> Payload:
    return choice | {"index": index} if many > 1 else choice


def _usage(counted: Mapping[str, Any], request: ReceivedRequest, tokens: int) -> Payload:
    """Return the upstream's usage in DashScope's form; an estimate if there is none yet."""
    sent, got = counted.get("prompt_tokens"), counted.get("completion_tokens")
    if not isinstance(sent, int):
        sent = tokenizer.count_input(request.prompt, request.messages)
    if not isinstance(got, int):
        got = tokens
    usage: Payload = {"total_tokens": sent + got, "input_tokens": sent, "output_tokens": got}
    for theirs, name in _USAGE_DETAILS.items():
        if details := counted.get(theirs):
            usage[name] = details
    return usage


def _status(error: object) -> int:
    code = as_dict(error).get("code")
    return code if isinstance(code, int) and 400 <= code < 600 else 500
