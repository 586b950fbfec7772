"""A conversation by `llama-dashscope chat`, in this process: its memory, its failures, its end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from llama_dashscope.cli.main import main
from llama_dashscope.testing import CutStream, ErrorStatus, LocalDashScope, Reply

from .conftest import Screen

Type = Callable[..., None]


def test_a_conversation_remembers(server: LocalDashScope, typed: Type, screen: Screen) -> None:
    """Each question goes out with all that was said; empty lines ask nothing; Ctrl-D leaves."""
    server.reply(["one", "two"])
    typed(b"first\n  \n second \n")

    assert screen.main(["chat"]) == 0

    assert "continues on the next line.\n> one\n> > two\n> \n" in screen.text
    assert [message["content"] for message in server.requests[1].messages][1:] == [
        *("first", "one", "second")
    ]


def test_a_conversation_survives_failures(
    server: LocalDashScope, typed: Type, screen: Screen
) -> None:
    """A question without an answer is forgotten; half an answer stays and can be continued."""
    server.reply([Reply(pieces=["Hel", "lo", "!"]), "there"])
    server.fault(ErrorStatus(400, code="InvalidParameter"))
    server.fault(CutStream(after=2, how="clean"))
    typed(b"lost\nhalf\ngo on\n")

    assert screen.main(["chat"]) == 0

    assert screen.text.count("llama-dashscope: error: ") == 2
    assert [message["content"] for message in server.requests[2].messages][1:] == [
        *("half", "Hello", "go on")
    ]


def test_a_conversation_in_json_is_a_line_for_each_answer(
    server: LocalDashScope, typed: Type, capsys: pytest.CaptureFixture[str]
) -> None:
    """--json holds for every answer, and what was said is remembered all the same."""
    server.reply(["one", "two"])
    typed(b"first\nsecond\n")

    assert main(["chat", "--json"]) == 0

    answers = [line.removeprefix("> ") for line in capsys.readouterr().out.splitlines()]
    assert json.loads(answers[1])["status_code"] == 200
    assert server.requests[1].messages[2] == {"role": "assistant", "content": "one"}


@pytest.mark.usefixtures("server")
def test_a_conversation_ends_where_an_option_is_wrong(typed: Type, screen: Screen) -> None:
    """What every further question would fail by as well ends the program with code 2."""
    typed(b"first\nsecond\n")

    assert screen.main(["chat", "--temperature", "inf"]) == 2
    assert screen.text.count("temperature must be") == 1


def test_a_conversation_without_a_key_ends_before_the_first_question(
    typed: Type, screen: Screen
) -> None:
    """Nobody types a question that can't be asked."""
    typed(b"first\n")

    assert screen.main(["chat"]) == 2
    assert ">" not in screen.text


def test_a_local_conversation_says_that_its_answers_are_canned(typed: Type, screen: Screen) -> None:
    """Nobody takes the stand-in for a Llama."""
    typed(b"")

    assert screen.main(["chat", "--local"]) == 0
    assert screen.text.startswith("llama3.3-70b-instruct, canned answers from a local server.\n")


def test_a_conversation_needs_no_readline(
    server: LocalDashScope, typed: Type, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Python has no readline, lines are typed without it."""
    monkeypatch.setitem(sys.modules, "readline", None)
    typed(b"first\n")

    assert screen.main(["chat"]) == 0
    assert server.requests
    assert screen.text.endswith("> \n")


@pytest.mark.parametrize(("library", "told"), [("GNU readline", False), ("libedit", True)])
def test_where_pastes_are_not_marked_it_says_so(
    typed: Type, screen: Screen, monkeypatch: pytest.MonkeyPatch, library: str, told: bool
) -> None:
    """Libedit, which is readline on many a Mac, would ask for each line of a paste."""
    readline = ModuleType("readline", doc=f"Line editing by {library}.")
    told_to: list[str] = []
    monkeypatch.setattr(readline, "parse_and_bind", told_to.append, raising=False)
    monkeypatch.setitem(sys.modules, "readline", readline)
    monkeypatch.setenv("TERM", "xterm")
    typed(b"")

    assert screen.main(["chat", "--local"]) == 0

    assert ("Each pasted line is one question; the extra `chat` keeps" in screen.text) == told
    assert told_to == ([] if told else ["set enable-bracketed-paste on"])


def test_a_line_goes_on_behind_a_backslash(
    server: LocalDashScope, typed: Type, screen: Screen
) -> None:
    """Lines so joined are one question; at the end of a question it is gone."""
    typed(b"one\\\ntwo\\\n\nC:\\ \n")

    assert screen.main(["chat"]) == 0

    assert [request.text for request in server.requests] == ["one\ntwo", "C:\\"]
    assert "> ... ... " in screen.text


def test_ctrl_c_stops_an_answer_and_not_the_conversation(
    server: LocalDashScope, typed: Type, screen: Screen
) -> None:
    """What had been said before stays in the conversation, so it can go on from there."""
    server.reply([Reply(pieces=["Hel", "lo"]), "there"])
    screen.interrupt_at = "Hel"
    typed(b"hi\ngo on\n")

    assert screen.main(["chat"]) == 0

    assert screen.text.endswith("> Hel\n> there\n> \n")
    assert server.requests[1].messages[2] == {"role": "assistant", "content": "Hel"}


def test_ctrl_c_at_the_prompt_gives_a_new_one(
    server: LocalDashScope, typed: Type, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line begun and not meant is thrown away; nothing is asked."""
    keys = iter([KeyboardInterrupt, EOFError])

    def press(_prompt: str) -> str:
        raise next(keys)

    monkeypatch.setattr("builtins.input", press)
    typed(b"")

    assert screen.main(["chat"]) == 0
    assert screen.text.endswith("the next line.\n\n\n")
    assert server.requests == []
