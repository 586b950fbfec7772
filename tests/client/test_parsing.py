"""`aparse` and `parse`: what is asked, what comes back, when it is asked again, how it fails."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import anyio
import attrs
import pytest

from llama_dashscope import (
    APITimeoutError,
    Client,
    InvalidRequestError,
    Message,
    Parsed,
    ParseError,
    RateLimitError,
    Timeout,
)
from llama_dashscope.testing import LocalDashScope, RateLimited, Reply, SlowStart, ToolCall

MODEL = "llama3.3-70b-instruct"
MESSAGES = [Message("user", "两天罗马")]


@attrs.frozen
class Trip:
    """A trip."""

    city: str
    days: int


GOOD = '{"city": "罗马", "days": 2}'
WRONG = '{"city": "罗马", "days": "2"}'
ROME = Trip("罗马", 2)

Parse = Callable[..., Parsed[Any]]


@pytest.fixture(params=["aparse on asyncio", "aparse on trio", "parse"])
def parse(request: pytest.FixtureRequest, server: LocalDashScope) -> Parse:
    """Return each verb as a sync function."""

    def ask(into: Any = Trip, prompt: str | None = None, **options: Any) -> Parsed[Any]:
        async def main() -> Parsed[Any]:
            async with Client(server.api_key, base_url=server.base_url, retry=0) as client:
                return await client.aparse(MODEL, into, prompt, **options)

        if prompt is None:
            options.setdefault("messages", MESSAGES)
        if request.param != "parse":
            return anyio.run(main, backend=request.param.rpartition(" ")[2])
        with Client(server.api_key, base_url=server.base_url, retry=0) as client:
            return client.parse(MODEL, into, prompt, **options)

    return ask


def test_a_type_in_an_instance_out(server: LocalDashScope, parse: Parse) -> None:
    """The answer becomes an instance, with the response that it was read from."""
    server.reply(f"```json\n{GOOD}\n```")

    parsed = parse(temperature=0.5)
    (request,) = server.requests

    assert parsed.value == ROME
    assert parsed.response.text == f"```json\n{GOOD}\n```"
    assert parsed.attempts == 1
    assert parsed.usage == parsed.response.usage
    assert parsed.unknown_fields == {}
    assert [each["role"] for each in request.messages] == ["system", "user"]
    assert '"required": ["city", "days"]' in request.messages[0]["content"]
    assert request.messages[1] == {"role": "user", "content": "两天罗马"}
    assert request.parameters == {"result_format": "message", "temperature": 0.5}


def test_response_format_is_sent_where_it_is_given(server: LocalDashScope, parse: Parse) -> None:
    """No JSON mode is documented for Llama; for a model with one it is the caller's to ask."""
    server.reply(GOOD)

    parse(response_format={"type": "json_object"})

    assert server.requests[0].parameters["response_format"] == {"type": "json_object"}


def test_other_types_than_classes(server: LocalDashScope, parse: Parse) -> None:
    """Whatever has a form in JSON can be asked for."""
    server.reply(["[1, 2]", '"yes"', "true", f"[{GOOD}]"])

    assert parse(list[int]).value == [1, 2]
    assert parse(Literal["yes", "no"]).value == "yes"
    assert parse(bool).value is True
    assert parse(list[Trip]).value == [ROME]


def test_a_wrong_answer_is_asked_again(server: LocalDashScope, parse: Parse) -> None:
    """The model sees its answer and the paths that are wrong; usage is that of both answers."""
    counted = {"prompt_tokens_details": {"cached_tokens": 3}}
    server.reply([Reply(WRONG, usage=counted), Reply(GOOD, usage=counted)])

    parsed = parse(messages=[Message("system", "简短"), *MESSAGES], seed=7)
    first, second = server.requests

    assert parsed.value == ROME
    assert parsed.attempts == 2
    assert second.messages[:2] == first.messages
    assert second.messages[2:] == [
        {"role": "assistant", "content": WRONG},
        {
            "role": "user",
            "content": "This does not fit the schema:\n"
            "- $.days: expected a whole number, got '2'\n"
            "Answer again: the whole JSON, corrected.",
        },
    ]
    assert second.parameters == first.parameters
    assert parsed.usage is not None
    assert parsed.response.usage is not None
    assert parsed.usage.total_tokens > parsed.response.usage.total_tokens
    assert parsed.usage.extra == {"prompt_tokens_details": {"cached_tokens": 6}}


def test_a_prompt_is_asked_again(server: LocalDashScope, parse: Parse) -> None:
    """For models without messages the schema and the mistakes go into the prompt."""
    server.reply(["No.", GOOD])

    parsed = parse(prompt="两天罗马")
    first, second = server.requests

    assert parsed.value == ROME
    assert (first.prompt or "").startswith("两天罗马\n\nAnswer with one JSON object")
    assert (second.prompt or "").startswith(f"{first.prompt}\n\nYour answer was:\nNo.\n\n")


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_an_answer_that_never_fits_is_an_error(
    server: LocalDashScope, parse: Parse, tries: int
) -> None:
    """After the last try the error has the answer, the paths and the tokens of all tries."""
    server.reply(Reply('{"days": "2"}', usage={"output_tokens": 5}, request_id="r1"))

    with pytest.raises(ParseError) as caught:
        parse(tries=tries)
    error = caught.value

    assert len(server.requests) == tries
    assert str(error).startswith("the answer does not fit: $.city: is missing (and 1 more) (")
    assert error.paths == ("$.city", "$.days")
    assert error.partial_text == '{"days": "2"}'
    assert error.attempts == tries
    assert error.usage is not None
    assert error.usage.output_tokens == 5 * tries
    assert error.status_code == 200
    assert error.request_id == "r1"
    assert error.response is not None
    assert error.response.text == '{"days": "2"}'
    assert pickle.loads(pickle.dumps(error)).paths == error.paths


def test_one_mistake_is_described_alone(server: LocalDashScope, parse: Parse) -> None:
    """Without JSON the whole answer is the mistake."""
    server.reply("I can't.")

    with pytest.raises(ParseError) as caught:
        parse(tries=1)

    assert (
        caught.value.message == "the answer does not fit: $: expected JSON, found none in the text"
    )
    assert caught.value.paths == ("$",)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (
            Reply(GOOD, finish_reason="length"),
            "was cut short (finish_reason length): raise max_tokens, or ask for less",
        ),
        (
            Reply(tool_calls=[ToolCall("weather"), ToolCall("time\x1b")]),
            "calls tools instead of giving a value: weather, time\\x1b",
        ),
    ],
    ids=["length", "tool calls"],
)
def test_what_can_not_get_better_is_not_asked_again(
    server: LocalDashScope, parse: Parse, reply: Reply, reason: str
) -> None:
    """A cut answer would be cut again; a tool call is the caller's to answer."""
    server.reply(reply)

    with pytest.raises(ParseError) as caught:
        parse()

    assert caught.value.message == f"the answer {reason}"
    assert caught.value.partial_text == reply.text
    assert caught.value.usage is not None
    assert caught.value.paths == ()
    assert len(server.requests) == 1


def test_a_failure_of_the_first_call_has_no_text(server: LocalDashScope, parse: Parse) -> None:
    """It is the error of any call."""
    server.reply(RateLimited())

    with pytest.raises(RateLimitError) as caught:
        parse()

    assert (caught.value.partial_text, caught.value.usage) == ("", None)


def test_a_failure_of_the_second_call_knows_the_first_answer(
    server: LocalDashScope, parse: Parse
) -> None:
    """What was paid for is not lost when the service refuses to be asked again."""
    server.reply([Reply(WRONG, usage={"input_tokens": 7, "output_tokens": 5}), RateLimited()])

    with pytest.raises(RateLimitError) as caught:
        parse()

    assert caught.value.partial_text == WRONG
    assert caught.value.usage is not None
    assert caught.value.usage.output_tokens == 5


def test_unknown_fields_are_kept_on_demand(server: LocalDashScope, parse: Parse) -> None:
    """What a class has no field for costs no other question then, and is there to be read."""
    server.reply('{"city": "罗马", "days": 2, "hotel": "Ritz"}')

    with pytest.raises(ParseError, match=r"\$\.hotel: is not a known field"):
        parse(tries=1)

    parsed = parse(unknown_fields="keep")

    assert parsed.value == ROME
    assert parsed.unknown_fields == {("hotel",): "Ritz"}


def stop_clock(monkeypatch: pytest.MonkeyPatch, *times: float) -> None:
    """Let the limit for all tries be counted by a clock that shows these times."""
    clock = iter(times)
    monkeypatch.setattr("llama_dashscope._client.structured_call.monotonic", lambda: next(clock))


def test_a_total_limit_holds_for_all_tries(
    server: LocalDashScope, parse: Parse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second try has the time that the first has left."""
    stop_clock(monkeypatch, 0.0, 59.9)
    server.reply([WRONG, Reply(GOOD, first_token_delay=60)])

    with pytest.raises(APITimeoutError) as caught:
        parse(timeout=Timeout(total=60))

    assert caught.value.waited == pytest.approx(0.1)
    assert caught.value.partial_text == WRONG


def test_without_time_left_there_is_no_other_try(
    server: LocalDashScope, parse: Parse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mistakes say more than a time limit that ended a call before it was made."""
    stop_clock(monkeypatch, 0.0, 60.0)
    server.reply(WRONG)

    with pytest.raises(ParseError) as caught:
        parse(timeout=Timeout(total=60))

    assert caught.value.attempts == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"into": complex}, "into: complex has no form in JSON"),
        ({"tries": 0}, "tries must be a whole number above 0, got 0"),
        ({"tries": True}, "tries must be a whole number above 0, got True"),
        ({"tries": "2"}, "tries must be a whole number above 0, got '2'"),
        ({"unknown_fields": "drop"}, "unknown_fields must be 'refuse' or 'keep', got 'drop'"),
        ({"n": 2}, "n must be 1: only one answer is read into a value"),
        ({"parameters": {"n": 2}}, "n must be 1: only one answer is read into a value"),
        ({"messages": []}, "messages is empty: a conversation has at least one message"),
        (
            {"messages": [5]},
            "messages[0] must be a Message or a dict with 'role' and 'content', got 5 (int)",
        ),
        (
            {"messages": [*MESSAGES, {"role": "user"}]},
            "messages[1]['content'] must be a string, got None",
        ),
        ({"temperature": "warm"}, "temperature must be a finite number, got 'warm' (str)"),
    ],
)
def test_a_wrong_argument_is_refused(
    server: LocalDashScope, parse: Parse, options: dict[str, Any], reason: str
) -> None:
    """Nothing is sent, and the message names the argument as the caller wrote it."""
    with pytest.raises(InvalidRequestError) as caught:
        parse(**options)

    assert caught.value.message == reason
    assert server.requests == []


def test_a_mistyped_keyword_is_told_the_nearest(parse: Parse) -> None:
    """As with every other verb."""
    with pytest.raises(TypeError, match="did you mean temperature"):
        parse(temprature=1)


def test_messages_may_come_one_by_one(server: LocalDashScope, parse: Parse) -> None:
    """A generator is read once, though the question may be asked twice."""
    server.reply([WRONG, GOOD])

    assert parse(messages=iter(MESSAGES)).attempts == 2


def test_parsed_is_a_value(server: LocalDashScope, parse: Parse) -> None:
    """It can be pickled and compared."""
    server.reply(GOOD)

    parsed = parse()

    assert pickle.loads(pickle.dumps(parsed)) == parsed
    assert parsed != parse()


def test_a_slow_answer_is_cancelled_at_once(server: LocalDashScope, anyio_backend: str) -> None:
    """Cancelling the caller frees its connection."""
    server.reply(SlowStart(60))

    async def main() -> None:
        async with (
            Client(server.api_key, base_url=server.base_url) as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(partial(client.aparse, MODEL, Trip, messages=MESSAGES))
            await server.await_for(lambda seen: seen.running == 1)
            tasks.cancel_scope.cancel()
        await server.await_idle()

    anyio.run(main, backend=anyio_backend)

    assert len(server.exchanges) == 1
