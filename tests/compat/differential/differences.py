"""The differences that are kept: what either side does, and why this one does it differently.

Where nothing else is said, the official SDK's way loses something that its caller would want.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import pytest
from attrs import frozen

from llama_dashscope.testing import (
    BlackHole,
    CutStream,
    ErrorFrame,
    ErrorStatus,
    Garbled,
    GatewayPage,
    RateLimited,
    Raw,
    ToolCall,
)

from .case import (
    MODEL,
    Prepare,
    body,
    faults,
    frames,
    messages,
    nothing,
    replies,
)
from .observe import Outcome, Sdk, Snippet


@frozen
class Difference:
    """A snippet, what it comes to on either side, and the reason."""

    snippet: Snippet
    theirs: object
    ours: object
    reason: str
    prepare: Prepare = nothing
    requests: tuple[int, int] = (1, 1)
    """How many requests the server got."""
    look: Callable[[Outcome], object] = attrgetter("seen")
    """Where the difference shows."""

    @property
    def name(self) -> str:
        """The snippet's name."""
        return self.snippet.__name__


DIFFERENCES: list[Difference] = []


def differs(  # noqa: PLR0917  what it lists reads best in this order
    theirs: object,
    ours: object,
    reason: str,
    prepare: Prepare = nothing,
    requests: tuple[int, int] = (1, 1),
    look: Callable[[Outcome], object] = attrgetter("seen"),
) -> Callable[[Snippet], Snippet]:
    """List a difference."""

    def add(snippet: Snippet) -> Snippet:
        DIFFERENCES.append(Difference(snippet, theirs, ours, reason, prepare, requests, look))
        return snippet

    return add


def raises(name: str) -> dict[str, str]:
    """Stand for an exception."""
    return {"raised": name}


def ask(sdk: Sdk, **more: object) -> Any:
    """Make the plainest call."""
    return sdk.Generation.call(MODEL, messages=messages(), **more)


def texts(sdk: Sdk, **more: object) -> list[Any]:
    """Read a stream: its text, or the code and status of a refusal."""
    return [
        each.output.text if each.output else [int(each.status_code), each.code]
        for each in ask(sdk, stream=True, incremental_output=True, **more)
    ]


ONE = replies("one two three")


@differs(
    True,
    False,
    "a refusal is what its error says, and that has no headers",
    faults(ErrorStatus(403, "AccessDenied", "not yours")),
)
def headers_of_a_refusal(sdk: Sdk) -> object:
    """`response.headers` of a refusal."""
    return bool(ask(sdk).headers)


@differs(
    None,
    "hi",
    "pydantic writes down what is in a message, as in everything else",
    replies("hi"),
)
def message_written_by_pydantic(sdk: Sdk) -> object:
    """Choices that pydantic writes down."""
    pydantic = pytest.importorskip("pydantic")
    choices = ask(sdk, result_format="message").output.choices
    (choice,) = pydantic.TypeAdapter(list[Any]).dump_python(choices)
    return choice["message"].get("content")


# --- answers that leave something out ------------------------------------------------------------


@differs(
    raises("TypeError"),
    "assistant",
    "a piece without a role is the assistant's",
    body({"output": {"choices": [{"message": {"content": "hi"}}]}}),
)
def role_left_out(sdk: Sdk) -> object:
    """A message without a role."""
    return ask(sdk, result_format="message").output.choices[0].message.role


@differs(
    '{"city": "杭州"}',
    "",
    "a response that was kept doesn't change any more when the next one comes",
    replies(ToolCall("weather", {"city": "杭州"})),
)
def kept_responses(sdk: Sdk) -> object:
    """What the first response of a stream says when the stream is over."""
    stream = ask(sdk, stream=True, incremental_output=False, result_format="message")
    first = next(iter(list(stream)))
    return first.output.choices[0].message.tool_calls[0]["function"]["arguments"]


@differs(
    ["index", "finish_reason", "message"],
    ["finish_reason", "message", "index"],
    "keys have one order in all frames",
    replies("one two"),
)
def order_of_keys(sdk: Sdk) -> object:
    """The order of keys in the last frame of two answers that were put together."""
    stream = ask(sdk, stream=True, incremental_output=False, result_format="message", n=2)
    return list(list(stream)[-1].output.choices[0].keys())


def likely(token: str) -> str:
    """Write a frame with the likelihood of its token."""
    choice = {
        "message": {"role": "assistant", "content": token},
        "finish_reason": "stop" if token == "b" else "null",
        "logprobs": {"content": [{"token": token}]},
    }
    return json.dumps({"output": {"choices": [choice]}, "request_id": "r"})


@differs(
    ["a", "b"],
    ["b"],
    "text, thoughts and tool calls grow; other fields are those of the frame",
    frames(likely("a"), likely("b")),
)
def logprobs_of_growing_text(sdk: Sdk) -> object:
    """Likelihoods, which no Llama model is documented to have."""
    stream = ask(sdk, stream=True, incremental_output=False, result_format="message")
    last = list(stream)[-1]
    return [each["token"] for each in last.output.choices[0].logprobs["content"]]


# --- answers that break off ----------------------------------------------------------------------

CUT = "an answer that stops before its finish_reason raises, with partial_text"


@differs(
    ["one", " two"],
    raises("IncompleteResponseError"),
    CUT,
    faults(CutStream(2, "clean"), ONE),
)
def cut_stream(sdk: Sdk) -> object:
    """A stream that ends early, cleanly."""
    return texts(sdk)


@differs(
    raises("ChunkedEncodingError"),
    raises("APIConnectionError"),
    CUT,
    faults(CutStream(2, "fin")),
)
def cut_connection(sdk: Sdk) -> object:
    """A stream whose connection ends."""
    return texts(sdk)


@differs(
    ["o", "null"],
    raises("IncompleteResponseError"),
    CUT,
    body({"output": {"text": "o", "finish_reason": "null"}}),
)
def answer_unfinished(sdk: Sdk) -> object:
    """A whole answer that says itself that it isn't."""
    output = ask(sdk).output
    return [output.text, output.finish_reason]


@differs(
    ["one", [400, "InternalError"]],
    ["one", [500, "InternalError"]],
    "an error inside a stream has the status that it names",
    faults(ErrorFrame(1, 500, "InternalError", "broken"), ONE),
)
def error_in_a_stream(sdk: Sdk) -> object:
    """An error after the first frame."""
    return texts(sdk)


@differs(
    [[400, "Unknown"], " two", " three", ""],
    raises("ResponseError"),
    "a frame that can't be read is a piece of the answer lost, and that is no answer",
    faults(Garbled(0), ONE),
)
def garbled_frame(sdk: Sdk) -> object:
    """A frame that is no JSON."""
    return texts(sdk)


# --- refusals ------------------------------------------------------------------------------------


@differs(
    raises("TypeError"),
    [400, "InvalidParameter"],
    "an error is recognised by what it is, not by its HTTP status",
    faults(ErrorStatus(400, "InvalidParameter", "no", shape="ok-json")),
)
def error_with_status_200(sdk: Sdk) -> object:
    """An error body under HTTP status 200."""
    response = ask(sdk)
    return [response.status_code, response.code]


@differs(
    raises("JSONDecodeError"),
    [400, "InvalidParameter"],
    "an error is recognised by what it is, not by its content type",
    faults(ErrorStatus(400, "InvalidParameter", "no", shape="frame")),
)
def error_as_frame(sdk: Sdk) -> object:
    """An error in a frame, though no stream was asked for."""
    response = ask(sdk)
    return [response.status_code, response.code]


@differs(
    [400, "ModelNotFound"],
    [404, "ModelNotFound"],
    "an error has the status that it names",
)
def refused_stream(sdk: Sdk) -> object:
    """A stream that the service refuses in its first frame."""
    (response,) = sdk.Generation.call("llama9", messages=messages(), stream=True)
    return [response.status_code, response.code]


@differs(
    [429, "Throttling.RateQuota"],
    [429, "Throttling.RateQuota"],
    "a failure that passes by itself is met by trying again, twice",
    faults(RateLimited(retry_after=0)),
    requests=(1, 3),
)
def rate_limit(sdk: Sdk) -> object:
    """A rate limit that stays."""
    response = ask(sdk)
    return [response.status_code, response.code]


@differs(
    [502, "Unknown", True],
    [502, "Unknown", False],
    "the message has the beginning of a gateway's page; it is tried again, twice",
    faults(GatewayPage(502, f"<html>\n{'x' * 1000}</html>", retry_after=0)),
    requests=(1, 3),
)
def gateway_page(sdk: Sdk) -> object:
    """A gateway's HTML."""
    response = ask(sdk)
    return [response.status_code, response.code, len(response.message) > 500]


# --- exceptions ----------------------------------------------------------------------------------

OWN = "exceptions are this package's own, whatever library carries the bytes"


@differs(raises("ConnectionError"), raises("APIConnectionError"), OWN, requests=(0, 0))
def nobody_there(sdk: Sdk) -> object:
    """Nobody listens at the address."""
    return ask(sdk, base_address="http://127.0.0.1:1/api/v1")


@differs(raises("ReadTimeout"), raises("APITimeoutError"), OWN, faults(BlackHole()))
def no_answer(sdk: Sdk) -> object:
    """Nothing comes back in time."""
    return ask(sdk, request_timeout=0.2)


@differs(raises("JSONDecodeError"), raises("ResponseError"), OWN, replies(Raw((b"hello",))))
def no_json(sdk: Sdk) -> object:
    """An answer that is no JSON object."""
    return ask(sdk)


@differs(raises("AuthenticationError"), raises("ConfigurationError"), OWN, requests=(0, 0))
def no_key(sdk: Sdk) -> object:
    """No key anywhere."""
    sdk.api_key = None
    return ask(sdk).status_code


@differs(raises("InvalidHeader"), raises("InvalidRequestError"), OWN, requests=(0, 0))
def header_of_a_number(sdk: Sdk) -> object:
    """A header that isn't text."""
    return ask(sdk, headers={"X-Trace": 7})


@differs(
    200,
    raises("InvalidRequestError"),
    "JSON has no NaN; it is refused before it is sent, by the name of its parameter",
    requests=(1, 0),
)
def not_a_number(sdk: Sdk) -> object:
    """A parameter that is NaN."""
    return ask(sdk, brand_new=float("nan")).status_code


@differs(raises("UnicodeEncodeError"), raises("InvalidRequestError"), OWN, requests=(0, 0))
def half_a_character(sdk: Sdk) -> object:
    """A lone surrogate."""
    return sdk.Generation.call(MODEL, messages=[{"role": "user", "content": "\ud83d"}])


# --- what isn't here -----------------------------------------------------------------------------


@differs(
    "AttributeError",
    "InvalidRequestError",
    "nothing of the official SDK's transport is here; what asks for it is told so",
    requests=(1, 0),
)
def flattened_output(sdk: Sdk) -> object:
    """A keyword that changes what the official SDK's transport does."""
    try:
        return ask(sdk, flattened_output=True)
    except Exception as error:
        return type(error).__name__


@differs(
    raises("UnicodeDecodeError"),
    200,
    "a file that is not UTF-8 goes out in Base64, as other bytes do",
    requests=(0, 1),
)
def file_of_another_encoding(sdk: Sdk) -> object:
    """A file of text in Latin-1."""
    return sdk.Generation.call(MODEL, io.BytesIO(b"caf\xe9")).status_code


@differs(
    raises("RuntimeError"),
    raises("InputRequired"),
    "a prompt with nothing in it is no prompt",
    requests=(0, 0),
)
def empty_generator(sdk: Sdk) -> object:
    """A generator that gives nothing."""
    return sdk.Generation.call(MODEL, (each for each in list[str]()))


def parameters(outcome: Outcome) -> list[str]:
    """Name the parameters of the one request."""
    return sorted(outcome.sent[0]["body"]["parameters"])


@differs(
    [],
    ["output_format"],
    "the official SDK's sync class drops it by mistake; its async class sends it",
    look=parameters,
)
def output_format(sdk: Sdk) -> object:
    """A parameter that the official SDK takes and doesn't send."""
    return ask(sdk, output_format="model_summary_report")


@differs(
    [],
    ["enable_search"],
    "rules for Qwen's models are Qwen's; what a program says is sent",
    look=parameters,
)
def search_of_qwen(sdk: Sdk) -> object:
    """False for a parameter that the official SDK leaves out then, for Qwen alone."""
    return sdk.Generation.call("qwen-turbo", messages=messages(), enable_search=False)


@differs(
    raises("InputRequired"),
    404,
    "rules for Bailian's models are Bailian's; what a program says is sent",
    requests=(0, 1),
)
def model_of_bailian(sdk: Sdk) -> object:
    """A model that the official SDK wants another argument for."""
    return sdk.Generation.call("bailian-v1", messages=messages()).status_code
