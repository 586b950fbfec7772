"""Settings, whole programs, and the async twin."""

from __future__ import annotations

from llama_dashscope.testing import ErrorStatus

from .case import (
    EACH_WAY,
    LLAMA2,
    MODEL,
    PARAMETERS,
    Cases,
    both,
    faults,
    messages,
    replies,
)
from .observe import Sdk

CASES = Cases()


@CASES.snippet()
def key_of_the_module(sdk: Sdk) -> object:
    """The key that a program sets on the module."""
    sdk.api_key = "sk-other"
    return sdk.Generation.call(MODEL, messages=messages()).code


@CASES.snippet()
def key_of_the_call(sdk: Sdk) -> object:
    """A call's own key comes before the module's."""
    key, sdk.api_key = sdk.api_key, "sk-other"
    return sdk.Generation.call(MODEL, messages=messages(), api_key=key).status_code


@CASES.snippet()
def key_none(sdk: Sdk) -> object:
    """`os.getenv` of a variable that isn't set."""
    return sdk.Generation.call(MODEL, messages=messages(), api_key=None).status_code


@CASES.snippet()
def address_with_a_slash(sdk: Sdk) -> object:
    """An address that ends with a slash."""
    sdk.base_http_api_url = f"{sdk.base_http_api_url}/"
    return sdk.Generation.call(MODEL, messages=messages()).status_code


@CASES.snippet()
def address_of_the_call(sdk: Sdk) -> object:
    """A call's own address comes before the module's."""
    address, sdk.base_http_api_url = sdk.base_http_api_url, "http://127.0.0.1:1/api/v1"
    return sdk.Generation.call(MODEL, messages=messages(), base_address=address).status_code


@CASES.snippet()
def regions(sdk: Sdk) -> object:
    """`set_region`, as the SDK's sample calls it, and what it refuses."""
    seen: list[object] = []
    for region, workspace in (
        ("ap-southeast-1", "ws-xxx123"),
        ("cn-beijing", "ws-bj-333"),
        ("invalid-region", "ws-xxx"),
        ("cn-beijing", None),
        ("cn-beijing", "ws/../x"),
        ("cn-beijing", "ws-1\n"),
    ):
        try:
            sdk.set_region(region=region, workspace_id=workspace)
        except ValueError:
            seen.append("refused")
        seen.append(sdk.base_http_api_url)
    return [each for each in seen if not str(each).startswith("http://")]


SEED = """
from http import HTTPStatus
import os
def call_with_messages():
    messages = [{'role': 'system', 'content': 'You are a helpful assistant.'},
                {'role': 'user', 'content': '介绍一下自己'}]
    response = dashscope.Generation.call(
        api_key=os.getenv('DASHSCOPE_API_KEY'),
        model='llama3.3-70b-instruct',
        messages=messages,
        result_format='message', # set the result to be "message" format.
    )
    if response.status_code == HTTPStatus.OK:
        print(response)
    else:
        print('Request id: %s, Status code: %s, error code: %s, error message: %s' % (
            response.request_id, response.status_code,
            response.code, response.message
        ))
call_with_messages()
"""


@CASES.snippet()
def seed_sample(sdk: Sdk) -> None:
    """The sample of the service's page on Llama, its one import changed."""
    exec(SEED, {"dashscope": sdk})


@CASES.snippet(faults(ErrorStatus(403, "AccessDenied", "not yours")))
def seed_sample_refused(sdk: Sdk) -> None:
    """The same where the service refuses."""
    exec(SEED, {"dashscope": sdk})


CASES.acalls(
    replies("one two"),
    call={"messages": messages()},
    message={"messages": messages(), "result_format": "message"},
    prompt={"model": LLAMA2, "prompt": "hello"},
    prompt_and_messages={"messages": messages()[:1], "prompt": "你是谁?"},
    history={"model": LLAMA2, "prompt": "now", "history": [{"user": "a", "bot": "b"}]},
    plugins={"messages": messages(), "plugins": {"a": 1}},
    workspace={"messages": messages(), "workspace": "ws_1", "headers": {"X-Trace": "1"}},
    all={"messages": messages(), "result_format": "message", **PARAMETERS},
    unknown={"messages": messages(), "brand_new": 1, "request_timeout": 9},
    wrong_key={"messages": messages(), "api_key": "sk-wrong"},
    unknown_model={"messages": messages(), "model": "llama9"},
    no_input={"messages": []},
    no_model={"model": "", "messages": messages()},
)
for form in ("text", "message"):
    for way in EACH_WAY:
        given = {"stream": True, "incremental_output": way, "result_format": form}
        CASES.acalls(
            replies("one two three"), **{f"stream_{form}_{way}": {"messages": messages(), **given}}
        )
for shape in ("json", "status-frame"):
    refusal = ErrorStatus(403, "AccessDenied", "not yours", shape=shape)
    CASES.acalls(faults(refusal), **both(f"refused_{shape}"))
