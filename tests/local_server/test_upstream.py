"""A model of one's own behind the server: everything translated both ways."""

from __future__ import annotations

import json
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from openai_engine import USAGE, Engine, Handler, chunk, refuses, says, streams
from relays import Relay, relay

from llama_dashscope import ConfigurationError
from llama_dashscope.testing import CutStream, LocalDashScope, RateLimited, Upstream
from llama_dashscope.testing._upstream.openai_dialect import UpstreamError

from .test_serve import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from .conftest import Call

MODEL = "llama3.3-70b-instruct"


@pytest.fixture
def engine(server: LocalDashScope) -> Iterator[Engine]:
    """Run an engine behind the server."""
    with Engine() as engine:
        server.reply(Upstream(engine.url))
        yield engine


def frames(response: httpx.Response) -> list[dict[str, Any]]:
    """Read the payload of every frame."""
    assert response.headers["content-type"] == "text/event-stream;charset=UTF-8"
    return [json.loads(line[5:]) for line in response.text.split("\n") if line.startswith("data:")]


def outputs(response: httpx.Response) -> list[dict[str, Any]]:
    """Read the output of every frame."""
    return [frame["output"] for frame in frames(response)]


def test_a_call(engine: Engine, call: Call) -> None:
    """A call goes up in OpenAI's words, and the answer comes down in DashScope's."""
    engine.will(says("你好"))

    response = call("hello", result_format="message", temperature=0.5)

    path, headers, chat = engine.requests[0]
    body = response.json()
    assert path == "/v1/chat/completions"
    assert "authorization" not in {name.lower() for name in headers}
    assert chat == {
        "model": MODEL,
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0.5,
    }
    assert body["output"] == {
        "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "你好"}}]
    }
    assert body["usage"] == {"total_tokens": 10, "input_tokens": 7, "output_tokens": 3}
    assert body["request_id"] == response.headers["x-request-id"]


def test_a_call_in_the_text_format(engine: Engine, call: Call) -> None:
    """The format is that of the client."""
    engine.will(says("yes", "length"))

    assert call().json()["output"] == {"finish_reason": "length", "text": "yes"}


def test_parameters(engine: Engine, call: Call) -> None:
    """What both dialects know keeps its name; what only DashScope knows stays here."""
    engine.will(says("yes"))
    same: dict[str, Any] = {
        "top_p": 0.9,
        "top_k": 5,
        "max_tokens": 7,
        "seed": 1,
        "presence_penalty": 0.1,
        "tools": [{"type": "function"}],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
    }

    call(result_format="message", repetition_penalty=1.1, enable_search=True, stop=["a"], **same)

    chat = engine.chat
    penalties = {"repetition_penalty": 1.1, "repeat_penalty": 1.1}
    assert chat == {
        "model": MODEL,
        "messages": chat["messages"],
        "stop": ["a"],
        **penalties,
        **same,
    }


@pytest.mark.parametrize(
    ("stop", "sent"),
    [
        ("a", {"stop": "a"}),
        ([1, 2], {"stop_token_ids": [1, 2]}),
        ([], {}),
        (None, {}),
    ],
)
def test_stop(engine: Engine, call: Call, stop: object, sent: dict[str, Any]) -> None:
    """Stop strings go by one name, token ids by another."""
    engine.will(says("yes"))

    call(stop=stop)

    assert {k: v for k, v in engine.chat.items() if k.startswith("stop")} == sent


def test_a_prompt(engine: Engine, call: Call) -> None:
    """A prompt, and the history of old programs, become messages."""
    engine.will(says("yes"))
    history = [{"user": "a", "bot": "b"}]

    call(body={"model": MODEL, "input": {"prompt": "c", "history": history}})

    assert engine.chat["messages"] == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]


def test_a_tool_call(engine: Engine, call: Call) -> None:
    """A tool call comes down with its index, and goes up again without."""
    function = {"name": "f", "arguments": "{}"}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": function}],
    }
    engine.will(says(message, "tool_calls"), says("done"))

    choice = call(result_format="message").json()["output"]["choices"][0]
    messages = [
        {"role": "user", "content": "go"},
        choice["message"],
        {"role": "tool", "content": "42", "tool_call_id": "1"},
    ]
    call(body={"model": MODEL, "input": {"messages": messages}})

    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": function, "index": 0, "id": "1", "type": "function"}],
    }
    assert engine.chat["messages"][1]["tool_calls"] == [
        {"function": function, "id": "1", "type": "function"}
    ]
    assert engine.chat["messages"][2] == messages[2]


def test_choices(engine: Engine, call: Call) -> None:
    """Several choices keep their numbers."""
    told = [{"message": {"content": each}, "finish_reason": "stop"} for each in "ab"]
    engine.will(says("", choices=told))

    choices = call(result_format="message", n=2).json()["output"]["choices"]

    assert [(each["index"], each["message"]["content"]) for each in choices] == [(0, "a"), (1, "b")]
    assert engine.chat["n"] == 2


def test_reasoning_and_details_of_usage(engine: Engine, call: Call) -> None:
    """What both dialects name alike comes through."""
    details = {"cached_tokens": 1}
    usage = {**USAGE, "prompt_tokens_details": details}
    engine.will(says({"content": "a", "reasoning_content": "hm"}, usage=usage))

    body = call(result_format="message").json()

    assert body["output"]["choices"][0]["message"]["reasoning_content"] == "hm"
    assert body["usage"]["prompt_tokens_details"] == details


PROBABLE = [
    {"token": each, "bytes": [ord(each)], "logprob": -0.5, "top_logprobs": []} for each in "abc"
]


def test_logprobs(engine: Engine, call: Call) -> None:
    """Log probabilities of the tokens go up as a wish and come down beside the message."""
    choice = {"message": {"content": "abc"}, "logprobs": {"content": PROBABLE}}
    engine.will(says("", choices=[choice]))

    (told,) = call(result_format="message", logprobs=True, top_logprobs=2).json()["output"][
        "choices"
    ]

    assert (engine.chat["logprobs"], engine.chat["top_logprobs"]) == (True, 2)
    assert told["logprobs"] == {"content": PROBABLE}
    assert told["message"] == {"role": "assistant", "content": "abc"}


@pytest.mark.parametrize(
    ("incremental", "counts"), [(True, [1, 1, 1, None]), (False, [1, 2, 3, 3])]
)
def test_logprobs_in_a_stream(
    engine: Engine, call: Call, incremental: bool, counts: list[int | None]
) -> None:
    """Each frame has those of its own text, also of a token without text."""
    deltas = [chunk({"content": "a"}), chunk({"content": "b"}), chunk({})]
    told = [{"content": [each]} for each in PROBABLE]
    engine.will(streams(*map(with_logprobs, deltas, told), chunk({}, "stop")))

    response = call(sse=True, incremental_output=incremental, result_format="message")

    choices = [output["choices"][0] for output in outputs(response)]
    found = [each["logprobs"]["content"] if "logprobs" in each else None for each in choices]
    assert [each and len(each) for each in found] == counts
    assert found[2] == (PROBABLE[2:] if incremental else PROBABLE)


def with_logprobs(piece: bytes, logprobs: object) -> bytes:
    """Put log probabilities beside the delta of a chunk."""
    told = json.loads(piece)
    told["choices"][0]["logprobs"] = logprobs
    return json.dumps(told).encode()


def test_other_ways_to_say_it(engine: Engine, call: Call) -> None:
    """Content in parts, `reasoning`, and arguments as an object come down as DashScope has them."""
    call_ = {"id": "1", "function": {"name": "f", "arguments": {"a": "é"}}}
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, {"type": "image"}]
    usage = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 1}}
    message = {"content": content, "reasoning": "hm", "tool_calls": [call_]}
    engine.will(says(message, "tool_calls", usage=usage))

    body = call(result_format="message").json()

    told = body["output"]["choices"][0]["message"]
    assert (told["content"], told["reasoning_content"]) == ("ab", "hm")
    assert told["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": "é"}'}
    assert body["usage"]["output_tokens_details"] == {"reasoning_tokens": 1}


def test_an_answer_without_usage(engine: Engine, call: Call) -> None:
    """Where the engine doesn't count, the server estimates."""
    engine.will(says("yes", usage=None))

    assert call("hi").json()["usage"] == {"total_tokens": 6, "input_tokens": 5, "output_tokens": 1}


def test_an_incremental_stream(engine: Engine, call: Call) -> None:
    """Each chunk becomes a frame; the last one has the engine's own count."""
    engine.will(
        streams(
            chunk({"role": "assistant"}), chunk({"content": "a"}), chunk({"content": "b"}, "stop")
        )
    )

    response = call(sse=True, incremental_output=True, result_format="message")

    assert engine.chat["stream"] is True
    assert engine.chat["stream_options"] == {"include_usage": True}
    choices = [output["choices"][0] for output in outputs(response)]
    assert [(each["message"]["content"], each["finish_reason"]) for each in choices] == [
        ("a", "null"),
        ("b", "null"),
        ("", "stop"),
    ]
    assert [frame["usage"]["output_tokens"] for frame in frames(response)] == [1, 2, 3]
    assert response.text.startswith("id:1\nevent:result\n:HTTP_STATUS/200\ndata:{")


def test_a_cumulative_stream(engine: Engine, call: Call) -> None:
    """Without incremental_output each frame repeats the text so far."""
    engine.will(streams(chunk({"content": "a"}), chunk({"content": "b"}), chunk({}, "length")))

    assert outputs(call(sse=True)) == [
        {"finish_reason": "null", "text": "a"},
        {"finish_reason": "null", "text": "ab"},
        {"finish_reason": "length", "text": "ab"},
    ]


def test_a_stream_without_usage_or_done(engine: Engine, call: Call) -> None:
    """An engine that just closes after the finish reason has said enough."""
    engine.will(streams(chunk({"content": "a"}), chunk({}, "stop"), usage=False, done=False))

    assert [each["text"] for each in outputs(call(sse=True))] == ["a", "a"]


def test_the_last_event_may_lack_its_blank_line(engine: Engine, call: Call) -> None:
    """What stands at the end of the stream counts."""

    def act(handler: Handler) -> None:
        handler.stream([chunk({"content": "a"})])
        handler.wfile.write(b"data: " + chunk({}, "stop"))

    engine.will(act)

    assert outputs(call(sse=True))[-1]["finish_reason"] == "stop"


@pytest.mark.parametrize("incremental", [True, False])
def test_tool_calls_in_a_stream(engine: Engine, call: Call, incremental: bool) -> None:
    """The first part names the call, the rest brings arguments; or each frame repeats all."""
    first = {"index": 0, "id": "1", "function": {"name": "f", "arguments": ""}}
    more = [{"index": 0, "function": {"arguments": part}} for part in ("{", "}")]
    deltas = [{"tool_calls": [part]} for part in (first, *more)]
    engine.will(streams(*map(chunk, deltas), chunk({}, "tool_calls")))

    response = call(sse=True, incremental_output=incremental, result_format="message")

    messages = [output["choices"][0]["message"] for output in outputs(response)]
    arguments = [
        each["tool_calls"][0]["function"]["arguments"] for each in messages if "tool_calls" in each
    ]
    assert messages[0]["tool_calls"][0]["function"]["name"] == "f"
    if incremental:
        assert arguments == ["", "{", "}"]
        assert messages[1]["tool_calls"][0]["id"] == ""
        assert "tool_calls" not in messages[-1]
    else:
        assert arguments == ["", "{", "{}", "{}"]


def test_choices_in_a_stream(engine: Engine, call: Call) -> None:
    """Choices that come by turns keep their numbers; the last frame finishes both."""
    engine.will(
        streams(
            *(chunk({"content": "a"}), chunk({"content": "b"}, index=1)),
            *(chunk({}, "stop"), chunk({}, "length", index=1)),
        )
    )

    told = outputs(call(sse=True, incremental_output=True, result_format="message", n=2))

    assert [[each["index"] for each in output["choices"]] for output in told] == [[0], [1], [0, 1]]
    assert [each["finish_reason"] for each in told[-1]["choices"]] == ["stop", "length"]


ERROR = {"error": {"message": "because", "type": "t", "code": None}}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, ERROR, (400, "InvalidParameter", "because")),
        (401, ERROR, (401, "InvalidApiKey", "because")),
        (403, ERROR, (403, "AccessDenied", "because")),
        (404, {"error": "no such model"}, (404, "ModelNotFound", "no such model")),
        (409, ERROR, (409, "InvalidParameter", "because")),
        (422, {"message": "wrong"}, (400, "InvalidParameter", "wrong")),
        (429, ERROR, (429, "Throttling.RateQuota", "because")),
        (500, ERROR, (500, "InternalError", "because")),
        (502, "<html>", (502, "InternalError", "The upstream answered with status 502.")),
        (503, ERROR, (503, "ModelUnavailable", "because")),
    ],
)
def test_refusals(
    engine: Engine, call: Call, status: int, body: object, expected: tuple[int, str, str]
) -> None:
    """An engine's error becomes the service's, of a call and of a stream."""
    engine.will(refuses(status, body), refuses(status, body))

    whole = call()
    (framed,) = frames(streamed := call(sse=True))

    told = whole.json()
    assert (whole.status_code, told["code"], told["message"]) == expected
    assert f"event:error\n:HTTP_STATUS/{expected[0]}\n" in streamed.text
    assert (framed["code"], framed["message"]) == expected[1:]


def test_retry_after(engine: Engine, call: Call) -> None:
    """When to come back is passed on."""
    engine.will(refuses(429, ERROR, retry_after="7"))

    assert call().headers["retry-after"] == "7"


def test_an_engine_that_is_not_there(server: LocalDashScope, call: Call) -> None:
    """The model is unavailable."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    server.reply(Upstream(f"http://127.0.0.1:{port}/v1"))

    response = call()

    assert (response.status_code, response.json()["code"]) == (503, "ModelUnavailable")


def test_an_engine_that_is_too_slow(server: LocalDashScope, call: Call) -> None:
    """Silence beyond the limit is the service's time-out."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        server.reply(Upstream(f"http://127.0.0.1:{mute.getsockname()[1]}/v1", timeout=0.1))
        response = call()

    assert (response.status_code, response.json()["code"]) == (500, "RequestTimeOut")
    assert response.json()["message"].startswith("The upstream failed with ReadTimeout")


def test_no_proxy_stands_before_an_engine_on_this_machine(
    engine: Engine, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy of the environment is not asked for a loopback address."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    engine.will(says("yes"))

    assert call().json()["output"]["text"] == "yes"


def test_an_engine_behind_a_proxy(
    server: LocalDashScope, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine on another machine is asked through the proxy that the environment names."""
    with Engine() as engine, relay(Relay.http) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        server.reply(Upstream(engine.url.replace("127.0.0.1", "gpu.example")))
        engine.will(says("yes"))
        response = call()

    assert response.json()["output"]["text"] == "yes"
    assert [each.partition("gpu.example")[0] for each in proxy.asked] == ["POST http://"]


@pytest.mark.parametrize(
    ("chunks", "code", "status"),
    [
        ([b'{"error": {"message": "because", "code": 503}}'], "ModelUnavailable", 503),
        ([b'{"error": {"message": "because", "code": "odd"}}'], "InternalError", 500),
        ([b"{nonsense"], "InternalError", 500),
        ([b"[" * 100_000], "InternalError", 500),
        ([b'"%b"' % (b"x" * (1 << 20))], "InternalError", 500),
        ([chunk({}, "content_filter")], "DataInspectionFailed", 400),
        ([], "InternalError", 500),
    ],
)
def test_a_stream_that_goes_wrong(
    engine: Engine,
    server: LocalDashScope,
    call: Call,
    chunks: list[bytes],
    *,
    code: str,
    status: int,
) -> None:
    """What came stays, an error frame with the next number ends the stream, and the log tells."""
    engine.will(streams(chunk({"content": "a"}), *chunks, usage=False, done=False))

    response = call(sse=True, incremental_output=True)

    first, last = frames(response)
    assert first["output"]["text"] == "a"
    assert last["code"] == code
    assert f"id:2\nevent:error\n:HTTP_STATUS/{status}\n" in response.text
    server.wait_idle()
    assert server.exchanges[0].outcome == "failed"
    assert str(server.exchanges[0]).endswith(f" ms, UpstreamError({last['message']!r})")


@pytest.mark.parametrize(
    ("body", "code"), [("{", "InternalError"), ('{"choices": null}', "InternalError")]
)
def test_a_call_that_goes_wrong(
    engine: Engine, server: LocalDashScope, call: Call, body: str, code: str
) -> None:
    """What is no answer is an error, and the log tells."""
    engine.will(refuses(200, body))

    response = call()

    assert (response.status_code, response.json()["code"]) == (500, code)
    server.wait_idle()
    assert server.exchanges[0].outcome == "failed"
    assert isinstance(server.exchanges[0].error, UpstreamError)


def test_a_client_that_leaves_stops_the_engine(
    engine: Engine, server: LocalDashScope, http: httpx.Client
) -> None:
    """The engine sees its connection end, in the middle of a stream."""
    left = threading.Event()

    def act(handler: Handler) -> None:
        try:
            handler.stream(chunk({"content": "a"}) for _ in iter(int, 1))
        except OSError:
            left.set()

    engine.will(act)
    body = {"model": MODEL, "input": {"prompt": "hi"}}
    url = "/api/v1/services/aigc/text-generation/generation"
    with http.stream("POST", url, json=body, headers={"x-dashscope-sse": "enable"}) as response:
        next(response.iter_raw())

    assert left.wait(10)
    server.wait_idle()
    assert server.exchanges[0].outcome == "client left"


def test_faults_before_a_real_model(engine: Engine, server: LocalDashScope, call: Call) -> None:
    """Faults strike as ever: a refused call never reaches the engine, a stream can be cut."""
    endless = streams(*[chunk({"content": "a"})] * 9, chunk({}, "stop"))
    engine.will(endless)
    server.fault(RateLimited())
    server.fault(CutStream(after=2, how="clean"))

    refused, cut = call(), call(sse=True)

    assert refused.status_code == 429
    assert [each["text"] for each in outputs(cut)] == ["a", "aa"]
    assert len(engine.requests) == 1


def test_model_and_key(server: LocalDashScope, call: Call) -> None:
    """The engine is asked for its own model, with its own key; the address may be the whole one."""
    with Engine() as engine:
        url = engine.url + "/chat/completions"
        server.reply(upstream := Upstream(url, model="tiny", api_key="sk-up"))
        engine.will(says("yes"))
        call()

        path, headers, chat = engine.requests[0]
        assert repr(upstream) == f"Upstream('{engine.url}', model='tiny')"
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == "Bearer sk-up"
    assert chat["model"] == "tiny"
    assert "sk-up" not in repr(upstream)


def test_serve_with_an_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the shell the key comes from the environment, and any model name goes through."""
    monkeypatch.setenv("UP_KEY", "sk-up")
    with Engine() as engine:
        engine.will(says("yes"))
        arguments = ("--upstream", engine.url, "--upstream-key-env", "UP_KEY")
        with serve(*arguments, "--upstream-model", "tiny") as served:
            response = served.call("any-name")
            served.end(signal.SIGINT)

        assert engine.requests[0][1]["authorization"] == "Bearer sk-up"
        assert engine.chat["model"] == "tiny"
    assert response.json()["output"]["text"] == "yes"


def test_serve_with_a_key_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """A variable that is not set is wrong usage."""
    import argparse

    from llama_dashscope.cli import serve

    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    args = parser.parse_args(["--upstream", "http://127.0.0.1:1", "--upstream-key-env", "UP_KEY"])

    with pytest.raises(SystemExit):
        serve.run(args)

    assert "UP_KEY is not set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"model": 5}, "model must be a string, got int"),
        ({"api_key": b"sk-1"}, "api_key must be a string, got bytes"),
        ({"timeout": None}, "timeout must be a number, 0 or more, got NoneType"),
    ],
)
def test_an_upstream_that_could_not_be_made(given: dict[str, Any], expected: str) -> None:
    """A wrong argument is refused before a request comes; a key doesn't show."""
    with pytest.raises(ConfigurationError) as caught:
        Upstream("http://127.0.0.1:8080/v1", **given)

    assert caught.value.message == expected
