"""One question by `llama-dashscope chat`, in this process: what is asked and what is shown."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llama_dashscope.cli.main import main
from llama_dashscope.testing import (
    BlackHole,
    CutStream,
    ErrorStatus,
    GatewayPage,
    LocalDashScope,
    RateLimited,
    Raw,
    Reply,
)

from .conftest import Screen

Type = Callable[..., None]


def body(**output: Any) -> list[bytes]:
    """Write the body of an answer."""
    return [json.dumps({"output": output, "request_id": "r-1"}).encode()]


def test_a_question_is_answered(server: LocalDashScope, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer is on stdout and ends its line, nothing is on stderr; messages are sent."""
    server.reply("你好")

    assert main(["chat", "介绍一下自己"]) == 0

    assert capsys.readouterr() == ("你好\n", "")
    (request,) = server.requests
    assert request.model == "llama3.3-70b-instruct"
    assert request.messages == [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "介绍一下自己"},
    ]
    assert request.streaming


def test_the_options_reach_the_service(server: LocalDashScope) -> None:
    """Every option that says something about the call is sent."""
    main(
        [
            *("chat", "hi", "--model", "llama3-8b-instruct", "--system", "Be brief."),
            *("--temperature", "0.5", "--max-tokens", "7", "--workspace", "ws_1", "--no-stream"),
        ]
    )

    (request,) = server.requests
    assert request.model == "llama3-8b-instruct"
    assert request.messages[0] == {"role": "system", "content": "Be brief."}
    assert (request.parameters["temperature"], request.parameters["max_tokens"]) == (0.5, 7)
    assert request.headers["x-dashscope-workspace"] == "ws_1"
    assert not request.streaming


def test_base_url_comes_before_the_environment(
    server: LocalDashScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--base-url says where to ask, whatever DASHSCOPE_HTTP_BASE_URL says."""
    monkeypatch.setenv("DASHSCOPE_HTTP_BASE_URL", "http://127.0.0.1:1/api/v1")

    assert main(["chat", "hi", "--base-url", server.base_url]) == 0


def test_an_empty_system_message_is_none(server: LocalDashScope) -> None:
    """--system '' sends the question alone."""
    main(["chat", "hi", "--system", ""])

    assert server.requests[0].messages == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("prompt", "data", "question"),
    [
        ([], "介绍一下自己\n".encode(), "介绍一下自己"),
        ([], b"\xef\xbb\xbfmarked", "marked"),
        (["What is this?"], b"def f():\n    pass\n", "What is this?\n\ndef f():\n    pass"),
        (["What is this?"], b" \n", "What is this?"),
    ],
)
def test_piped_text_is_the_question_or_follows_it(
    prompt: list[str], data: bytes, question: str, server: LocalDashScope, piped: Type
) -> None:
    """A pipe alone asks; behind a prompt it is what the prompt is about."""
    piped(data)

    assert main(["chat", *prompt]) == 0
    assert server.requests[0].text == question


def test_a_pipe_may_speak_the_locale_s_encoding(server: LocalDashScope, piped: Type) -> None:
    """Where text is no UTF-8, it is read as the shell's locale writes it."""
    piped("介绍".encode("gbk"), "gbk")

    assert main(["chat"]) == 0
    assert server.requests[0].text == "介绍"


@pytest.mark.parametrize(
    ("text", "encoding"), [("首字", "utf-8"), ("\ufeff首字", "utf-8"), ("一个问题首字", "gbk")]
)
def test_a_character_that_the_pipe_cut_is_left_out(
    text: str,
    encoding: str,
    server: LocalDashScope,
    piped: Type,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`head -c` counts bytes; what it left whole is asked, and a line says what is missing."""
    piped(text.encode(encoding)[:-1], encoding)

    assert main(["chat"]) == 0

    assert server.requests[0].text == text.removeprefix("\ufeff")[:-1]
    assert "note: the piped text ends in half a character" in capsys.readouterr().err


def test_local_says_that_the_answer_is_canned(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a terminal nobody takes it for a Llama's; a script finds only the answer."""
    assert screen.main(["chat", "--local", "hi"]) == 0
    note = "note: canned answers from a local server, not from llama3.3-70b-instruct\n"
    assert screen.text.startswith(f"llama-dashscope: {note}")

    assert main(["chat", "--local", "hi"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("argv", "data", "complaint"),
    [
        (["chat"], b"", "there is no question; ask one with llama-dashscope chat 'QUESTION'"),
        (["chat", ""], b"\n", "there is no question"),
        (["chat"], b"\xff\xfeh\x00i\x00", "not UTF-8"),
        (["chat", "hi", "--base-url", "nowhere"], b"", "base_url must be an address"),
        (["chat", "hi", "--timeout", "-1"], b"", "argument --timeout: -1 is not above 0"),
        (["chat", "hi", "--base-url", "ftp://a/b"], b"", "begins with http:// or https://"),
        (["chat", "hi", "--temperature", "nan"], b"", "temperature must be a finite number"),
        (["chat", "hi", "--model", ""], b"", "model must be the name of a model"),
    ],
)
@pytest.mark.usefixtures("server")
def test_what_cannot_be_asked_is_code_2(
    argv: list[str], data: bytes, complaint: str, piped: Type, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is sent; one line says what is wrong."""
    piped(data)

    code = main(argv)

    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert complaint in err


def test_a_prompt_at_a_terminal_waits_for_no_pipe(server: LocalDashScope, typed: Type) -> None:
    """What is typed later is for the shell, and an empty prompt begins no conversation."""
    typed(b"ls -l\n")

    assert main(["chat", "hi"]) == 0
    assert main(["chat", ""]) == 2
    assert [request.text for request in server.requests] == ["hi"]


def test_without_a_key_it_says_where_to_put_one(capsys: pytest.CaptureFixture[str]) -> None:
    """The first hurdle of a new user names the ways over it."""
    assert main(["chat", "hi"]) == 2

    err = capsys.readouterr().err
    assert all(way in err for way in ("DASHSCOPE_API_KEY", "~/.dashscope/api_key", "--local"))


def test_plain_http_to_another_machine_is_warned_about(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client's warning is a line like any other, without a place in our code."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-x")

    code = main(["chat", "hi", "--base-url", "http://192.0.2.1/api/v1", "--temperature", "nan"])

    assert code == 2
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("llama-dashscope: warning: base_url is plain http: the key is sent to")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (ErrorStatus(400, code="InvalidParameter", message="Range of\n top_p"), "Range of top_p"),
        (ErrorStatus(403, code="AccessDenied", message="No."), "No. (status 403, request_id "),
        (RateLimited(), "3 attempts); wait a little and ask again"),
        (GatewayPage(), "status 502"),
    ],
)
def test_an_error_of_the_service_is_one_line_and_code_1(
    fault: Any,
    said: str,
    server: LocalDashScope,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its own words are there, in one line, however many it sent."""
    server.fault(fault, times=3)

    code = main(["chat", "hi"])

    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("llama-dashscope: error: ")
    assert said in err


def test_an_unknown_model_points_to_the_list(
    server: LocalDashScope, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any name is sent; what to do when the service doesn't know it follows its words."""
    assert main(["chat", "hi", "--model", "llama-9"]) == 1

    assert server.requests[0].model == "llama-9"
    err = capsys.readouterr().err
    assert "ModelNotFound" in err
    assert err.endswith("; `llama-dashscope models` lists those that are known\n")


def test_a_wrong_key_is_refused_and_never_shown(
    server: LocalDashScope, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hint of the error stands; the key is in none of the streams."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-very-secret")
    server.fault(ErrorStatus(500, message="sk-very-secret failed"), times=None)

    assert main(["chat", "hi"]) == 1

    out, err = capsys.readouterr()
    assert "InvalidApiKey" in err
    assert "each region has its own keys" in err
    assert "secret" not in out + err


def test_nobody_there_is_code_1_with_advice(
    server: LocalDashScope, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refused connection says what to look at."""
    with server.down():
        assert main(["chat", "hi"]) == 1

    err = capsys.readouterr().err
    assert err.endswith("; check the network, the proxy and --base-url\n")


def test_the_timeout_is_the_user_s(
    server: LocalDashScope, capsys: pytest.CaptureFixture[str]
) -> None:
    """--timeout bounds the wait for an answer, and the error names it."""
    server.fault(BlackHole(), times=None)

    assert main(["chat", "hi", "--timeout", "0.05"]) == 1
    assert "allow more time with --timeout" in capsys.readouterr().err


def test_what_had_arrived_stays_on_stdout(
    server: LocalDashScope, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cut stream leaves its text, a line end, and an error on the other stream."""
    server.reply(Reply(pieces=["Hel", "lo", "!"]))
    server.fault(CutStream(after=2, how="clean"))

    assert main(["chat", "hi"]) == 1

    out, err = capsys.readouterr()
    assert out == "Hello\n"
    assert err.startswith("llama-dashscope: error: ")


def test_a_whole_answer_that_is_cut_short_is_shown_and_is_an_error(
    server: LocalDashScope, capsys: pytest.CaptureFixture[str]
) -> None:
    """Text that comes with an error is shown without --no-stream's promise being kept."""
    cut = Raw(body(text="Half an", finish_reason="null"))
    server.reply([cut, cut])

    assert main(["chat", "hi", "--no-stream"]) == 1
    assert capsys.readouterr().out == "Half an\n"

    assert main(["chat", "hi", "--json"]) == 1
    assert capsys.readouterr().out == ""


def test_an_answer_that_ends_its_line_gets_no_empty_one(
    server: LocalDashScope, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line end is enough, and an empty answer needs none."""
    server.reply(["1\n2\n", ""])

    for shown in ("1\n2\n", ""):
        assert main(["chat", "count"]) == 0
        assert capsys.readouterr().out == shown


@pytest.mark.parametrize("argv", [[], ["--no-stream"]])
def test_a_cut_at_the_longest_length_is_noted(
    argv: list[str], server: LocalDashScope, capsys: pytest.CaptureFixture[str]
) -> None:
    """An answer that max_tokens cut is shown as such, on stderr, and is no failure."""
    server.reply(Reply(pieces=["Hel", "lo"]))

    assert main(["chat", "hi", "--max-tokens", "1", *argv]) == 0

    out, err = capsys.readouterr()
    assert out == "Hel\n"
    assert err.startswith("llama-dashscope: note: the answer was cut")


def test_json_is_the_whole_response_on_one_line(
    server: LocalDashScope, capsys: pytest.CaptureFixture[str]
) -> None:
    """The keys and their order are the service's; notes stay away; nothing is escaped."""
    server.reply(Reply(pieces=["你", "好"], request_id="r-1"))

    assert main(["chat", "hi", "--json", "--max-tokens", "1"]) == 0

    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (1, "")
    response = json.loads(out)
    assert list(response) == ["status_code", "request_id", "code", "message", "output", "usage"]
    assert response["output"]["choices"][0]["finish_reason"] == "length"
    assert '"content": "你"' in out


def test_output_in_a_small_encoding_loses_characters_but_not_the_answer(
    server: LocalDashScope, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where stdout can't carry a character, text has a question mark and JSON an escape."""
    server.reply("héllo 你")
    shown = tmp_path / "shown"

    with shown.open("w", encoding="latin-1") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["chat", "hi"]) == 0
        assert main(["chat", "hi", "--json"]) == 0

    text, response = shown.read_text("latin-1").splitlines()
    assert text == "héllo ?"
    assert json.loads(response)["output"]["choices"][0]["message"]["content"] == "héllo 你"


def test_a_terminal_gets_no_control_characters(server: LocalDashScope, screen: Screen) -> None:
    """A model can't rename the window, recolour it, or hide what it said; a file gets it all."""
    server.reply("a\x1b]0;x\x07\tb\r\nc\x9b1m")

    assert screen.main(["chat", "hi"]) == 0
    assert screen.text == "a\ufffd]0;x\ufffd\tb\nc\ufffd1m\n"


def test_a_file_gets_every_character(
    server: LocalDashScope, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is no terminal gets the answer as it is."""
    server.reply("a\x1b[1mb")

    main(["chat", "hi"])

    assert capsys.readouterr().out == "a\x1b[1mb\n"


def test_local_needs_no_key_and_no_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--local answers whatever the environment says of keys, addresses and proxies."""
    for name in ("HTTP_PROXY", "ALL_PROXY", "DASHSCOPE_HTTP_BASE_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-of-the-service")

    assert main(["chat", "--local", "介绍一下自己"]) == 0
    assert "llama3.3-70b-instruct" in capsys.readouterr().out


def test_local_is_paced_at_a_terminal(screen: Screen) -> None:
    """At a terminal the stand-in takes its time, so that the answer is seen to grow."""
    assert screen.main(["chat", "--local", "hi", "--max-tokens", "2"]) == 0
    assert "\nHello!\n" in screen.text


def test_ctrl_c_before_the_answer_ends_with_130(server: LocalDashScope, screen: Screen) -> None:
    """The shell's prompt comes on a line of its own, below the terminal's ^C."""

    def press(_request: object) -> str:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return "too late"

    server.reply(press)

    assert screen.main(["chat", "hi"]) == 130
    assert screen.text == "\n"


def test_ctrl_c_within_the_answer_ends_with_130(server: LocalDashScope, screen: Screen) -> None:
    """What had arrived stays, its line ended; the service is told at once."""
    server.reply(Reply(pieces=["Hel", "lo"]))
    screen.interrupt_at = "Hel"

    assert screen.main(["chat", "hi"]) == 130
    assert screen.text == "Hel\n"
