"""Renders replies as answers: one JSON body, or the frames of a stream."""

from collections.abc import Iterator, Sequence
from itertools import count, repeat

from attrs import evolve, frozen

from llama_dashscope.testing._service import responses, tokenizer

from .received_request import ReceivedRequest
from .response_plan import FOREVER, BodyPart, Headers, ResponsePlan
from .responses import Payload
from .scripted_replies import Raw, Reply, TokenizedReply, ToolCall, settle

UNFINISHED = "null"
"""The `finish_reason` of a stream's frames before the end: a string, not JSON null."""


@frozen
class GenerationSpeed:
    """The speed of answers, for replies that don't set their own."""

    tokens_per_second: float = FOREVER
    first_token_delay: float = 0.0

    def of(self, reply: Reply) -> "GenerationSpeed":
        """Return the speed for a reply, whose own values take precedence."""
        speed, delay = reply.tokens_per_second, reply.first_token_delay
        return GenerationSpeed(
            self.tokens_per_second if speed is None else speed,
            self.first_token_delay if delay is None else delay,
        )

    def times(self) -> Iterator[float]:
        """Yield the time of each token, in seconds after the request."""
        if self.tokens_per_second == FOREVER:
            return repeat(self.first_token_delay)
        return (self.first_token_delay + index / self.tokens_per_second for index in count())

    def total(self, tokens: int) -> float:
        """Return how long this many tokens take, in seconds."""
        return self.first_token_delay + tokens / self.tokens_per_second


def answer(
    reply: Reply, request: ReceivedRequest, request_id: str, pace: GenerationSpeed
) -> ResponsePlan:
    """Return the answer with `reply`, in the format that `request` asks for."""
    said, pace = settle(reply, request), pace.of(reply)
    sent = tokenizer.count_input(request.prompt, request.messages)
    writer = _Writer(request, reply, reply.request_id or request_id, sent)
    if request.streaming:
        frames = responses.frames(writer.stream(said), pace.times())
        return responses.stream_answer(request, frames, writer.request_id)
    return responses.json_answer(request, writer.whole(said), at=pace.total(said.tokens))


def raw_answer(raw: Raw, request: ReceivedRequest) -> ResponsePlan:
    """Return the answer with exactly the bytes of `raw`."""
    times = count(0.0, raw.pause)
    pieces = [BodyPart(data, at) for data, at in zip(raw.chunks, times, strict=False)]
    if pieces and responses.reports_error(b"".join(raw.chunks)):
        pieces[-1] = evolve(pieces[-1], failed=True)
    names = {name.lower() for name in raw.headers}
    chunked = raw.head is None and not names & {"content-length", "transfer-encoding"}
    framing: Headers = (("transfer-encoding", "chunked"),) if chunked else ()
    return ResponsePlan(
        raw.status,
        (*raw.headers.items(), *framing),
        pieces,
        framing="chunked" if chunked else "raw",
        end=raw.end,
        keep=request.keeps_alive,
        raw_head=raw.head,
    )


@frozen
class _Writer:
    """Writes the payloads of one answer."""

    request: ReceivedRequest
    reply: Reply
    request_id: str
    input_tokens: int

    def whole(self, said: TokenizedReply) -> Payload:
        """Return the payload of an answer that is not streamed."""
        text, calls = "".join(said.pieces), [_call(i, c) for i, c in enumerate(said.tool_calls)]
        message: Payload = {"role": "assistant", "content": text}
        choice = {"finish_reason": said.finish_reason, "message": _with_calls(message, calls)}
        return self._payload(text, said.finish_reason, choice, said.tokens)

    def stream(self, said: TokenizedReply) -> Iterator[Payload]:
        """Yield one payload for each token, and a last one with the finish_reason."""
        incremental = self.request.incremental
        text, calls, tokens = "", list[Payload](), 0
        for piece in said.pieces:
            text, tokens = piece if incremental else text + piece, tokens + 1
            yield self._frame(text, [], UNFINISHED, tokens)
        text = "" if incremental else text
        for part in _call_pieces(said.tool_calls):
            calls, tokens = [part] if incremental else _joined(calls, part), tokens + 1
            yield self._frame(text, calls, UNFINISHED, tokens)
        yield self._frame(text, [] if incremental else calls, said.finish_reason, tokens)

    def _frame(
        self, text: str, calls: Sequence[Payload], finish_reason: str, tokens: int
    ) -> Payload:
        message: Payload = {"content": text, "role": "assistant"}
        choice = {"message": _with_calls(message, calls), "finish_reason": finish_reason}
        return self._payload(text, finish_reason, choice, tokens)

    def _payload(self, text: str, finish_reason: str, choice: Payload, tokens: int) -> Payload:
        many, output = 1, Payload(finish_reason=finish_reason, text=text)
        if self.request.result_format == "message":
            many = self.request.parameters.get("n") or 1
            output = {
                "choices": [choice | {"index": i} for i in range(many)] if many > 1 else [choice]
            }
        sent, got = self.input_tokens, tokens * many
        usage = {"total_tokens": sent + got, "input_tokens": sent, "output_tokens": got}
        usage |= self.reply.usage
        return {"output": output, "usage": usage, "request_id": self.request_id}


def _with_calls(message: Payload, calls: Sequence[Payload]) -> Payload:
    return message | {"tool_calls": list(calls)} if calls else message


def _call(index: int, call: ToolCall) -> Payload:
    function = {"name": call.name, "arguments": call.arguments_text}
    return {"function": function, "index": index, "id": call.id, "type": "function"}


def _call_pieces(calls: Sequence[ToolCall]) -> Iterator[Payload]:
    """Yield the pieces of calls: first the name, then parts of the arguments with the index."""
    for index, call in enumerate(calls):
        yield _call(index, evolve(call, arguments=""))
        for part in tokenizer.cut(call.arguments_text):
            yield {"function": {"arguments": part}, "index": index, "id": "", "type": "function"}


def _joined(calls: list[Payload], part: Payload) -> list[Payload]:
    if part["index"] == len(calls):
        return [*calls, part]
    last = calls[-1]
    text = last["function"]["arguments"] + part["function"]["arguments"]
    return [*calls[:-1], last | {"function": last["function"] | {"arguments": text}}]
