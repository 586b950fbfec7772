"""`llama-dashscope batch`: files in and out, exit codes, Ctrl-C."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO, cast
from xml.etree import ElementTree as ET

import pytest

from llama_dashscope import read_journal
from llama_dashscope.cli.main import main
from llama_dashscope.testing import BlackHole, LocalDashScope, Moderated, QuotaSpent

FAST = ["--rpm", "10000000"]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Write a file of 20 questions."""
    path = tmp_path / "in.jsonl"
    lines = [json.dumps({"custom_id": f"q{at}", "prompt": f"{at}?"}) for at in range(20)]
    path.write_text("\n".join(lines))
    return path


def run(source: Path | str, out: Path, *options: str) -> int:
    """Run the command here."""
    return main(["batch", str(source), str(out), *FAST, *options])


def ids(path: Path) -> set[str]:
    """Return the ids in an output."""
    return {result.custom_id for result in read_journal(path)}


def test_questions_in_answers_out(
    server: LocalDashScope, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each question has a line; the summary is on stderr; a second run has nothing to do."""
    out = tmp_path / "out.jsonl"

    assert run(questions, out) == 0

    assert ids(out) == {f"q{at}" for at in range(20)}
    assert "20 answered in" in capsys.readouterr().err
    assert server.requests[0].json["model"] == "llama3.3-70b-instruct"

    assert run(questions, out) == 0

    assert "20 skipped: the journal had them" in capsys.readouterr().err
    assert len(server.requests) == 20


def test_without_a_key_on_this_machine(questions: Path, tmp_path: Path) -> None:
    """`--local` asks a stand-in."""
    out = tmp_path / "out.jsonl"

    assert run(questions, out, "--local", "--limit", "3") == 0
    assert ids(out) == {"q0", "q1", "q2"}


def test_options_reach_the_service(server: LocalDashScope, questions: Path, tmp_path: Path) -> None:
    """Model, temperature and length are for all items."""
    options = ["--model", "llama3.2-3b-instruct", "--temperature", "0.5", "--max-tokens", "9"]

    assert run(questions, tmp_path / "out.jsonl", *options, "--limit", "1") == 0

    sent = server.requests[0].json
    assert sent["model"] == "llama3.2-3b-instruct"
    assert sent["parameters"]["temperature"] == 0.5
    assert sent["parameters"]["max_tokens"] == 9


def test_items_that_fail(
    server: LocalDashScope, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are counted, the first five are shown, and the exit code is 1."""
    server.fault(Moderated(), times=7)

    assert run(questions, tmp_path / "out.jsonl") == 1

    shown = capsys.readouterr().err
    assert shown.count("DataInspectionFailed: Input or output data") == 5
    assert "7 failed" in shown
    assert run(questions, tmp_path / "out.jsonl", "--again", "failed") == 0


def test_spent_quota(
    server: LocalDashScope, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The batch stops and says why."""
    server.fault(QuotaSpent(), times=None)

    assert run(questions, tmp_path / "out.jsonl", "--concurrency", "1") == 1
    assert "stopped by QuotaExhaustedError" in capsys.readouterr().err
    assert len(server.requests) == 1


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_run_that_stops_closes_its_input(
    server: LocalDashScope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """At once, and not when the garbage collector comes to it."""
    source, opened = tmp_path / f"in.{suffix}", list[TextIO]()
    source.write_text("prompt\n" + "1\n" * 20 if suffix == "csv" else '"a"\n' * 20)
    open_file = cast("Callable[..., TextIO]", Path.open)

    def recorded(path: Path, *args: Any, **kwargs: Any) -> TextIO:
        file = open_file(path, *args, **kwargs)
        if path == source:
            opened.append(file)
        return file

    monkeypatch.setattr(Path, "open", recorded)
    server.fault(QuotaSpent(), times=None)

    assert run(source, tmp_path / "out.jsonl", "--concurrency", "1") == 1

    assert opened
    assert all(file.closed for file in opened)


def test_a_dry_run(
    server: LocalDashScope, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It checks every item, sends nothing, needs no key and leaves the output as it is."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"custom_id": "a", "prompt": "hi"}\n"b"\n{"custom_id": "c"}\n')
    assert run(source, out, "--limit", "1") == 0
    before = out.read_bytes()
    capsys.readouterr()

    assert run(source, out, "--dry-run") == 1

    said = capsys.readouterr()
    assert said.out.startswith("1 to ask (about ")
    assert said.out.endswith("1 done, 1 invalid\n")
    assert "c: prompt and messages are both missing" in said.err
    assert out.read_bytes() == before
    assert len(server.requests) == 1
    assert run(source, tmp_path / "new.jsonl", "--dry-run", "--limit", "2") == 0
    assert not (tmp_path / "new.jsonl").exists()


@pytest.mark.parametrize("text", ["{\n", '"a"\n\nno\n'])
def test_a_line_that_is_no_json(
    server: LocalDashScope, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """What stands before it is answered; the exit code is that of a mistake."""
    source = tmp_path / "in.jsonl"
    source.write_text(text)

    assert run(source, tmp_path / "out.jsonl") == 2

    assert f"line {text.count(chr(10))} of the input is not JSON" in capsys.readouterr().err
    assert len(ids(tmp_path / "out.jsonl")) == text.count("a")


def test_files_that_are_not_there(server: LocalDashScope, tmp_path: Path) -> None:
    """The system's error is shown."""
    assert run(tmp_path / "in.jsonl", tmp_path / "out.jsonl") == 1


def test_an_output_that_is_something_else(
    server: LocalDashScope, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """IN and OUT the wrong way round cost nobody a file."""
    text = tmp_path / "notes.txt"
    text.write_text("notes\n")

    assert run(questions, text) == 2

    assert "is not a line of a batch journal" in capsys.readouterr().err
    assert text.read_text() == "notes\n"


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("in.csv in.csv", "IN and OUT are the same file"),
        ("in.csv ./in.csv", "IN and OUT are the same file"),
        ("in.csv.jsonl in.csv", "IN and the journal of OUT are the same file"),
        ("in.csv out.jsonl --plot in.csv", "IN and --plot are the same file"),
        ("in.csv out.jsonl --plot out.jsonl", "OUT and --plot are the same file"),
        ("in.csv -", "OUT is also the journal, so it can't be stdout"),
    ],
)
@pytest.mark.usefixtures("server")
def test_files_that_would_be_lost(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    named: str,
    message: str,
) -> None:
    """No file is written over another."""
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("prompt\na\n")
    Path("in.csv.jsonl").write_text('"a"\n')

    assert main(["batch", *named.split()]) == 2

    assert message in capsys.readouterr().err
    assert Path("in.csv").read_text() == "prompt\na\n"
    assert {each.name for each in tmp_path.iterdir()} == {"in.csv", "in.csv.jsonl"}


def test_what_can_not_be_written_in_the_end(
    server: LocalDashScope,
    questions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is found before anything is asked."""
    assert run(questions, tmp_path / "a.jsonl", "--plot", str(tmp_path / "no" / "run.svg")) == 1

    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert run(questions, tmp_path / "a.parquet") == 2

    assert "pip install pyarrow" in capsys.readouterr().err
    assert server.requests == []


@pytest.mark.parametrize("stderr", [None, "broken"])
def test_a_run_that_nobody_watches(
    server: LocalDashScope,
    questions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stderr: str | None,
) -> None:
    """A closed stderr, or one whose reader is gone, stops nothing."""
    monkeypatch.setattr("llama_dashscope.batch.progress.EVERY", 0.0)
    monkeypatch.setattr("llama_dashscope.cli.batch.discard_output", lambda: None)
    monkeypatch.setattr(sys, "stderr", stderr and Broken())
    server.fault(Moderated(), times=1)

    assert run(questions, tmp_path / "out.jsonl") == 1

    assert ids(tmp_path / "out.jsonl") == {f"q{at}" for at in range(20)}


class Broken(io.StringIO):
    """A pipe whose reader is gone."""

    def write(self, _: str) -> int:
        """Fail."""
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("option", [["--limit", "0"], ["--rpm", "0"], ["--again", "all"]])
def test_options_that_can_not_be(questions: Path, tmp_path: Path, option: list[str]) -> None:
    """They are refused."""
    assert run(questions, tmp_path / "out.jsonl", *option) == 2


def test_from_a_pipe(server: LocalDashScope, tmp_path: Path, piped: Callable[..., None]) -> None:
    """`-` is the standard input: UTF-8 wherever it comes from, even with a byte order mark."""
    piped('\ufeff"a"\n"你"\n'.encode(), encoding="latin-1")

    assert run("-", tmp_path / "out.jsonl") == 0
    assert ids(tmp_path / "out.jsonl") == {"0", "1"}
    assert {each.json["input"]["prompt"] for each in server.requests} == {"a", "你"}


class SlowPipe:
    """A standard input whose second question comes after the first answer."""

    def __init__(self, out: Path) -> None:
        self.reading, self._writing = os.pipe()
        self._out = out

    def ask(self, line: bytes) -> None:
        """Send a question, or a part of it."""
        os.write(self._writing, line)

    def wait(self) -> None:
        """Wait for the first answer."""
        while not self._out.exists() or b"batch_req_0" not in self._out.read_bytes():
            time.sleep(0.01)

    def close(self) -> None:
        """End the input."""
        os.close(self._writing)


@pytest.fixture
def slow_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowPipe]:
    """Make the standard input a pipe."""
    if sys.platform == "win32":
        pytest.skip("only sockets can be waited for there")
    pipe = SlowPipe(tmp_path / "out.jsonl")
    with os.fdopen(pipe.reading, encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield pipe


@pytest.mark.parametrize("options", [[], ["--limit", "2"]])
def test_from_a_pipe_that_stays_open(
    server: LocalDashScope, tmp_path: Path, slow_pipe: SlowPipe, options: list[str]
) -> None:
    """An answer doesn't wait for the next question, and the last line needs no line feed."""

    def ask() -> None:
        slow_pipe.ask(b'"a"\n\n')
        slow_pipe.wait()
        slow_pipe.ask(b'"b"')
        slow_pipe.close()

    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(ask)

        assert run("-", tmp_path / "out.jsonl", *options) == 0

        asking.result(timeout=20)
    assert ids(tmp_path / "out.jsonl") == {"0", "1"}


def test_ctrl_c_while_a_pipe_says_nothing(
    server: LocalDashScope, tmp_path: Path, slow_pipe: SlowPipe
) -> None:
    """The first one ends the wait for more questions."""

    def interrupt() -> None:
        slow_pipe.ask(b'"a"\n')
        slow_pipe.wait()
        os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(1) as threads:
        interrupting = threads.submit(interrupt)

        assert run("-", tmp_path / "out.jsonl") == 130

        interrupting.result(timeout=20)
    slow_pipe.close()
    assert ids(tmp_path / "out.jsonl") == {"0"}


def test_from_a_closed_stdin(
    server: LocalDashScope,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The message says so."""
    monkeypatch.setattr(sys, "stdin", None)

    assert run("-", tmp_path / "out.jsonl") == 2

    assert "stdin is closed" in capsys.readouterr().err


def test_tables(server: LocalDashScope, tmp_path: Path) -> None:
    """CSV in, CSV out; its journal is beside it."""
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text('custom_id,prompt,temperature\na,"one, two",0.5\nb,three,\n')
    server.reply("four")
    server.fault(Moderated(), when=lambda request: "three" in str(request.json))

    assert run(source, out) == 1

    with out.open(encoding="utf-8", newline="") as file:
        rows = {row["custom_id"]: row for row in csv.DictReader(file)}
    assert rows["a"]["text"] == "four"
    assert rows["a"]["error_code"] == ""
    assert rows["b"]["error_code"] == "DataInspectionFailed"
    assert ids(tmp_path / "out.csv.jsonl") == {"a", "b"}
    asked = next(each for each in server.requests if "one, two" in str(each.json))
    assert asked.json["parameters"]["temperature"] == 0.5


def test_a_picture_of_the_run(server: LocalDashScope, questions: Path, tmp_path: Path) -> None:
    """`--plot` draws it."""
    server.fault(Moderated())

    assert run(questions, tmp_path / "out.jsonl", "--plot", str(tmp_path / "run.svg")) == 1

    drawn = ET.parse(tmp_path / "run.svg").getroot()  # noqa: S314  # our own picture
    assert drawn.tag.endswith("svg")


def test_progress_at_a_terminal(
    server: LocalDashScope, questions: Path, tmp_path: Path, screen: Any
) -> None:
    """A bar shows how many there are, and what they cost."""
    assert screen.main(["batch", str(questions), str(tmp_path / "out.jsonl"), *FAST]) == 0

    assert "20/20" in screen.text
    assert "tokens" in screen.text


# Ctrl-C


@pytest.fixture
def interrupted(server: LocalDashScope, questions: Path, tmp_path: Path) -> Iterator[Any]:
    """Start the command as a program of its own, whose answers hang but for one."""
    server.fault(
        BlackHole(), times=None, when=lambda request: request.json["input"]["prompt"] != "0?"
    )
    command = ["batch", str(questions), str(tmp_path / "out.jsonl"), "--concurrency", "3", *FAST]
    with subprocess.Popen(
        [sys.executable, "-m", "llama_dashscope", *command],
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as program:
        server.wait_for(lambda s: s.running == 3, 30)
        program.send_signal(signal.SIGINT)
        assert program.stderr is not None
        assert "waiting for the requests in flight" in program.stderr.readline()
        yield program
        program.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="its Ctrl-C is another thing")
def test_the_first_ctrl_c_waits_for_answers(
    server: LocalDashScope, tmp_path: Path, interrupted: Any
) -> None:
    """Those under way still come; then the summary, and exit code 130."""
    server.reset()  # what hangs breaks off; its transport may have sent it once more

    _, said = interrupted.communicate(timeout=30)

    assert interrupted.returncode == 130
    kept = ids(tmp_path / "out.jsonl")
    assert f"{len(kept)} answered in" in said
    assert {"q0"} <= kept <= {"q0", "q1", "q2", "q3"}


@pytest.mark.skipif(sys.platform == "win32", reason="its Ctrl-C is another thing")
def test_the_second_ctrl_c_waits_for_nothing(
    server: LocalDashScope, questions: Path, tmp_path: Path, interrupted: Any
) -> None:
    """What is under way is given up; the next run asks it again."""
    interrupted.send_signal(signal.SIGINT)

    _, said = interrupted.communicate(timeout=30)

    assert interrupted.returncode == 130
    assert " answered in" in said
    server.reset()
    assert run(questions, tmp_path / "out.jsonl") == 0
    assert len(ids(tmp_path / "out.jsonl")) == 20


def test_ctrl_c_in_this_process(
    server: LocalDashScope, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The handler is there only while the batch runs; a signal amid a write is heard as well."""
    before = signal.getsignal(signal.SIGINT)
    calls = 0

    def answer(_: object) -> str:
        nonlocal calls
        calls += 1
        if calls == 2:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        return "ok"

    server.reply(answer)

    assert run(questions, tmp_path / "out.jsonl", "--concurrency", "1") == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert "press Ctrl-C again to abandon them" in capsys.readouterr().err
