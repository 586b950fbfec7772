"""The command as a whole: commands, help, exit codes, output that can't be written."""

from __future__ import annotations

import importlib
import io
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import llama_dashscope
from llama_dashscope import MODELS, __version__
from llama_dashscope.cli import main


@pytest.mark.parametrize("command", ["chat", "batch", "models", "serve"])
def test_help_fits_a_terminal(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line is longer than 80 characters."""
    monkeypatch.setenv("COLUMNS", "80")

    assert main([command, "--help"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 80] == []


def test_help_explains_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever writes a script finds the codes in the help, of the program and of chat."""
    for argv in (["--help"], ["chat", "--help"]):
        assert main(argv) == 0
        assert "130  Ctrl-C" in capsys.readouterr().out


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    """--version says which one is installed."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"llama-dashscope {__version__}\n"


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ([], "the following arguments are required: {chat,batch,models,serve}"),
        (["sing"], "invalid choice: 'sing'"),
        (["chat", "--temperature", "hot"], "invalid float value: 'hot'"),
        (["chat", "--local", "--base-url", "http://127.0.0.1"], "not allowed with argument"),
        (["chat", "tell", "me", "a joke"], "unrecognized arguments: me a joke (a question of"),
        (["chat", "hi", "--frobnicate"], "unrecognized arguments: --frobnicate; see"),
        (["chat", "hi", "--mod", "x"], "unrecognized arguments: --mod x; see"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(
    argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake in the arguments says what it is and where to read on."""
    code = main(argv)

    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert complaint in err
    assert "--help'" in err


def test_models_is_a_table_with_notes(capsys: pytest.CaptureFixture[str]) -> None:
    """Every model has a line whose columns stand below their headings; every note is there."""
    assert main(["models"]) == 0

    out = capsys.readouterr().out
    lines = out.splitlines()
    table = lines[: lines.index("")]
    assert [line.split()[0] for line in table[1:]] == list(MODELS)
    assert {line.find("messages") for line in table[1:]} == {table[0].index("TAKES")}
    assert max(map(len, lines)) <= 80
    assert all(note in " ".join(out.split()) for model in MODELS.values() for note in model.notes)


def test_models_says_what_a_model_takes(capsys: pytest.CaptureFixture[str]) -> None:
    """Known to take a prompt, known not to, and unknown are three different things."""
    main(["models"])

    takes = {line.split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "messages, prompt?" in takes["llama3.3-70b-instruct"]
    assert "messages   " in takes["llama3-8b-instruct"]
    assert "messages, prompt  " in takes["llama2-7b-chat-v2"]


def test_models_as_json_is_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    """A program gets the same facts with names to them."""
    assert main(["models", "--json"]) == 0

    listed = json.loads(capsys.readouterr().out)
    assert [model["name"] for model in listed] == list(MODELS)
    assert listed[-1]["context_length"] == 4_000
    assert listed[-1]["notes"] == list(MODELS["llama2-7b-chat-v2"].notes)


def test_serve_explains_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    """The server's options are there when its help is asked for."""
    assert main(["serve", "--help"]) == 0
    assert "--tokens-per-second" in capsys.readouterr().out


def test_a_wrong_option_of_serve_is_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    """The server's options are refused like any other's."""
    assert main(["serve", "--faults", "flood"]) == 2
    assert "flood" in capsys.readouterr().err


def test_python_m_is_the_same_program(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m llama_dashscope` reads the process's arguments and exits with the code."""
    monkeypatch.setattr(sys, "argv", ["anything", "chat"])

    # By its file: pytest rewrites modules of a plugin's package, which runpy can't read then.
    program = Path(llama_dashscope.__file__).with_name("__main__.py")
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(program), run_name="__main__")

    assert end.value.code == 2
    assert "there is no question" in capsys.readouterr().err


def test_importing_main_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Tools that import every module of a package don't start the command."""
    importlib.import_module("llama_dashscope.__main__")

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("argv", [["--help"], ["chat", "--help"], ["models"]])
def test_what_asks_nobody_starts_fast(argv: list[str]) -> None:
    """Help and the catalogue load no HTTP library and no server."""
    program = (
        "import sys; from llama_dashscope.cli import main; main(sys.argv[1:]);"
        "loaded = {name.partition('.')[0] for name in sys.modules} | set(sys.modules);"
        "sys.exit(repr(loaded & {'httpx', 'aiohttp', 'llama_dashscope.testing', 'readline'}))"
    )

    ended = subprocess.run([sys.executable, "-c", program, *argv], capture_output=True, check=False)

    assert ended.stderr == b"set()\n"


def broken_pipe() -> io.TextIOWrapper:
    """Make the writing end of a pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", encoding="utf-8")


@pytest.mark.parametrize("argv", [["models"], ["--help"]])
def test_a_reader_who_has_had_enough_is_no_failure(
    argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`| head -1` ends the command quietly, the interpreter's own last flush included."""
    with broken_pipe() as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        code = main(argv)

    assert code == 0
    assert capsys.readouterr().err == ""


def test_a_reader_of_errors_who_has_had_enough_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same holds for `2>&1 | head -c 0`."""
    with broken_pipe() as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)

        assert main(["chat"]) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no file that is full")
def test_a_full_disk_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What could not be written is no success."""
    with Path("/dev/full").open("w", encoding="utf-8") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        code = main(["models"])

    assert code == 1
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["models"], ["chat", "hi"], ["chat"]])
def test_a_closed_stdout_is_a_failure(
    argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What has no place to go is no success, and is not asked for."""
    monkeypatch.setattr(sys, "stdout", None)

    assert main(argv) == 1
    assert capsys.readouterr().err == (
        "llama-dashscope: error: stdout is closed: the answer can't be printed\n"
    )


def test_closed_streams_are_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program started without stdin, stdout and stderr says it by its exit code alone."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)

    assert main(["models"]) == 1
    assert main(["--help"]) == 0


def test_a_closed_stdin_is_no_question(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing can be read from it, so there must be a question."""
    monkeypatch.setattr(sys, "stdin", None)

    assert main(["chat"]) == 2
    assert "there is no question" in capsys.readouterr().err


def test_output_that_is_no_file_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that calls main() may have put any text stream in stdout's place."""
    stdout = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stdout)

    assert main(["models"]) == 0
    assert stdout.getvalue().startswith("MODEL ")


def test_output_that_fails_without_a_file_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is right also where there is no file to point elsewhere."""

    class Full(io.StringIO):
        def write(self, _text: str, /) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())

    assert main(["models"]) == 1
    assert capsys.readouterr().err == "llama-dashscope: error: No space left on device\n"
