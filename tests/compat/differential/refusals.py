"""What the service refuses, and what is refused before."""

from __future__ import annotations

from typing import Any

from llama_dashscope.testing import ErrorStatus, Moderated, QuotaSpent

from .case import (
    LLAMA2,
    MODEL,
    TOOL,
    Cases,
    both,
    faults,
    messages,
)
from .observe import Sdk

CASES = Cases()

CASES.calls(
    wrong_key={"messages": messages(), "api_key": "sk-wrong"},
    temperature_refused={"messages": messages(), "temperature": 9},
    bad_role={"messages": [{"role": "robot", "content": "hi"}]},
    empty_content={"messages": [{"role": "user", "content": ""}]},
    content_parts={"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
    tools_in_text={"messages": messages(), "tools": [TOOL]},
    prompt_refused={"prompt": "x" * 200_000, "model": LLAMA2},
    stream_wrong_key={"messages": messages(), "stream": True, "api_key": "sk-wrong"},
)
REFUSALS: dict[str, Any] = {
    "refused_400": ErrorStatus(400, "InvalidParameter", "no"),
    "refused_403": ErrorStatus(403, "AccessDenied", "not yours"),
    "refused_404": ErrorStatus(404, "ModelNotFound", "gone"),
    "refused_413": ErrorStatus(413, "BadRequest.TooLarge", "too large"),
    "refused_moderated": Moderated(),
    "refused_quota": QuotaSpent(),
}
for name, refusal in REFUSALS.items():
    CASES.calls(faults(refusal), **both(name))


@CASES.snippet(faults(ErrorStatus(400, "InvalidParameter", "no")))
def seeds_way_with_refusals(sdk: Sdk) -> object:
    """A refusal has what the seed's sample prints, and nothing in output or usage."""
    response = sdk.Generation.call(MODEL, messages=messages())
    return [
        response.status_code == 200,
        (response.code, response.message),
        bool(response.request_id),
        response.output is None,
        bool(response.output),
        response.usage is None,
        response["output"],
        response.get("usage", 1),
        "output" in response,
    ]


@CASES.snippet()
def no_input(sdk: Sdk) -> object:
    """Neither prompt nor messages."""
    return sdk.Generation.call(MODEL)


@CASES.snippet()
def empty_messages(sdk: Sdk) -> object:
    """An empty conversation."""
    return sdk.Generation.call(MODEL, messages=[])


@CASES.snippet()
def history_alone(sdk: Sdk) -> object:
    """A history without a prompt."""
    return sdk.Generation.call(MODEL, history=[{"user": "a", "bot": "b"}])


@CASES.snippet()
def no_model(sdk: Sdk) -> object:
    """An empty model."""
    return sdk.Generation.call("", messages=messages())


@CASES.snippet()
def model_none(sdk: Sdk) -> object:
    """No model."""
    return sdk.Generation.call(model=None, messages=messages())


@CASES.snippet()
def model_forgotten(sdk: Sdk) -> object:
    """No argument at all."""
    return sdk.Generation.call()


@CASES.snippet()
def argument_twice(sdk: Sdk) -> object:
    """An argument by position and by name."""
    return sdk.Generation.call(
        MODEL, None, None, None, messages(), None, None, False, 0.5, temperature=0.5
    )
