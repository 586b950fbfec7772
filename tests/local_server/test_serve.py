"""`llama-dashscope serve`: the same server from a shell."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest

from llama_dashscope.cli import main
from llama_dashscope.cli import serve as command

if TYPE_CHECKING:
    from collections.abc import Generator

PATH = "/services/aigc/text-generation/generation"
BODY = {"model": "llama3.3-70b-instruct", "input": {"prompt": "hi"}}
PROGRAM = textwrap.dedent("""
    import argparse, sys
    from llama_dashscope.cli import serve
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    sys.exit(serve.run(parser.parse_args()))
""")


class Served(NamedTuple):
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    environ: dict[str, str]

    def call(self, model: str = "llama3.3-70b-instruct") -> httpx.Response:
        """Call it as its own words say."""
        headers = {"authorization": f"Bearer {self.environ['DASHSCOPE_API_KEY']}"}
        url = self.environ["DASHSCOPE_HTTP_BASE_URL"] + PATH
        return httpx.post(url, json={**BODY, "model": model}, headers=headers)

    def end(self, how: signal.Signals) -> tuple[int, str]:
        """End it, and return its exit code and what else it said."""
        self.process.send_signal(how)
        said, _ = self.process.communicate(timeout=20)
        return self.process.returncode, said


@contextmanager
def serve(*arguments: str) -> Generator[Served, None, None]:
    """Run it on a free port, and read where it is."""
    folders = [os.environ["PYTHONPATH"], *(str(Path(each).resolve()) for each in sys.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    program = [sys.executable, "-c", PROGRAM, "--port", "0", *arguments]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(4)]
        exports = (line.removeprefix("export ").split("=", 1) for line in lines[1:3])
        try:
            yield Served(process, dict(exports))
        finally:
            process.kill()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_from_start_to_end(how: signal.Signals) -> None:
    """It says where it is, answers, tells of each request, and ends well at a signal."""
    with serve("--reply", "yes") as served:
        response = served.call()
        code, said = served.end(how)

    assert response.json()["output"]["text"] == "yes"
    assert said.startswith("#1 llama3.3-70b-instruct: call answered, status 200, 1 piece, ")
    assert code == 0


def test_a_refusal_inside_200_is_no_answer(tmp_path: Path) -> None:
    """The line on the terminal and the one in the log say that the call failed."""
    log = tmp_path / "requests.jsonl"
    with serve("--faults", "error-status(shape=ok-json)", "--log", str(log)) as served:
        status = served.call().status_code
        _, said = served.end(signal.SIGINT)

    assert status == 200
    assert "call failed, fault ErrorStatus(shape='ok-json'), status 200, " in said
    assert json.loads(log.read_text(encoding="utf-8"))["outcome"] == "failed"


def test_arguments(tmp_path: Path) -> None:
    """Key, models, pace, faults and the log are as they were asked for."""
    log = tmp_path / "requests.jsonl"
    pace = ("--tokens-per-second", "1000", "--first-token-delay", "0.01")
    faults = ("--faults", "rate-limited*1", "--seed", "1")
    with serve("--api-key", "sk-mine", "--any-model", "--log", str(log), *pace, *faults) as served:
        statuses = [served.call("qwen-plus").status_code for _ in range(2)]
        served.end(signal.SIGINT)

    assert statuses == [429, 200]
    first, second = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    assert (first["fault"], first["status"]) == ("RateLimited()", 429)
    assert second["body"] == {**BODY, "model": "qwen-plus"}
    assert "sk-mine" not in log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("host", "warned"), [("0.0.0.0", True), ("127.0.0.1", False), ("::1", False)]
)
def test_listening_to_the_network_is_worth_a_warning(
    capfd: pytest.CaptureFixture[str], host: str, warned: bool
) -> None:
    """Whoever opens the server to other machines is told what they can read."""
    with serve("--host", host, "--allow-host", "box.example") as served:
        url = served.environ["DASHSCOPE_HTTP_BASE_URL"] + PATH
        named = httpx.post(url, json=BODY, headers={"host": "box.example"})
        served.end(signal.SIGINT)

    assert named.status_code == 401
    assert ("warning: this is not a loopback address" in capfd.readouterr().err) == warned


def test_half_a_character_in_the_log(tmp_path: Path) -> None:
    """A body with half a surrogate pair, which UTF-8 can't carry, has its line like any other."""
    log = tmp_path / "requests.jsonl"
    with serve("--log", str(log)) as served:
        url = served.environ["DASHSCOPE_HTTP_BASE_URL"] + PATH
        httpx.post(url, content=rb'{"model": "\ud800\u4e2d"}')
        served.end(signal.SIGINT)

    assert json.loads(log.read_text(encoding="utf-8"))["body"] == {"model": "\ud800\u4e2d"}


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Start the command with options that can't work, and return what it says."""
    assert main(["serve", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--port 99999", "port must be from 0 to 65535, got 99999"),
        ("--port http", "--port: invalid int value: 'http'"),
        ("--faults tea", "no fault is called 'tea'"),
        ("--tokens-per-second 0", "0 is not above 0"),
        ("--tokens-per-second nan", "nan is not a number"),
        ("--tokens-per-second fast", "fast is not a number"),
        ("--first-token-delay -1", "-1 is below 0"),
        ("--upstream foo", "'foo' must be an address like http://host:port"),
        ("--upstream ftp://127.0.0.1/v1", "it begins with http:// or https://"),
        ("--api-key é", "api_key has a space, a line break or a character"),
        (
            "--allow-host http://box:1",
            "host names such as 'box.example', without port, got 'http://box:1'",
        ),
    ],
)
def test_what_no_option_can_be(
    arguments: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says which option is wrong and why, before anything listens."""
    assert complaint in refused(capsys, "--port", "0", *arguments.split())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--upstream URL --reply hi", "--reply: not allowed with argument --upstream"),
        ("--upstream URL --tokens-per-second 5", "--tokens-per-second: not allowed with argument"),
        ("--upstream URL --first-token-delay 0", "--first-token-delay: not allowed with argument"),
        ("--upstream URL --upstream-key-env NOT_SET", "NOT_SET is not set"),
        ("--upstream-key-env HOME", "--upstream-key-env: only allowed with argument --upstream"),
        ("--upstream-model llama", "--upstream-model: only allowed with argument --upstream"),
    ],
)
def test_options_that_contradict(
    arguments: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An option that would be without effect is refused, and the error names it."""
    given = arguments.replace("URL", "http://127.0.0.1:1/v1").split()

    assert complaint in refused(capsys, "--port", "0", *given)


def parsed(*arguments: str) -> argparse.Namespace:
    """Read arguments as the command does."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    command.add_arguments(parser)
    return parser.parse_args(arguments)


def test_in_this_process(capsys: pytest.CaptureFixture[str]) -> None:
    """`run` gives the process its signal handlers back."""
    before = signal.getsignal(signal.SIGINT)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    def end() -> None:
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/status.json")
            except httpx.ConnectError:
                continue
            break
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=end)
    thread.start()
    code = command.run(parsed("--port", str(port), "--faults", "5%"))
    thread.join()

    assert code == 0
    assert (
        f"export DASHSCOPE_HTTP_BASE_URL=http://127.0.0.1:{port}/api/v1" in capsys.readouterr().out
    )
    assert signal.getsignal(signal.SIGINT) is before


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """The line says which port it is and how to get another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 1

    said = capsys.readouterr().err
    assert f"port {port} of 127.0.0.1 is taken, perhaps by another `llama-dashscope serve`" in said
    assert said.endswith("use another port, or 0 for any free one\n")


def test_help_can_be_printed() -> None:
    """Every help text survives argparse's formatting."""
    parser = argparse.ArgumentParser(
        description=command.ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_arguments(parser)

    assert "rate-limited*2" in parser.format_help()


def test_an_accounts_limits() -> None:
    """`--rpm` and `--tpm` refuse what is beyond them."""
    with serve("--rpm", "60", "--tpm", "600000") as served:
        answers = [served.call() for _ in range(2)]
        served.end(signal.SIGINT)

    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[1].json()["code"] == "Throttling.RateQuota"
