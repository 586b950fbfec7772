"""The pytest plugin: a fixture, a marker, a section in the report, and peace under xdist."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import _llama_dashscope_pytestplugin as plugin

if TYPE_CHECKING:
    from collections.abc import Callable

pytest_plugins = ["pytester"]

CALL = """
import os
import httpx
import pytest
from llama_dashscope.testing import RateLimited, Reply

def call(prompt="hi", model="llama3.3-70b-instruct"):
    url = os.environ["DASHSCOPE_HTTP_BASE_URL"] + "/services/aigc/text-generation/generation"
    headers = {"authorization": "Bearer " + os.environ["DASHSCOPE_API_KEY"]}
    return httpx.post(url, json={"model": model, "input": {"prompt": prompt}}, headers=headers)
"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> Callable[..., pytest.RunResult]:
    """Run some tests with the plugin."""

    def run(source: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(CALL + textwrap.dedent(source))
        plugin = ("-p", "llama_dashscope.testing.plugin", "-p", "no:cacheprovider")
        return pytester.runpytest(*plugin, "--strict-markers", *arguments)

    return run


def test_the_environment_leads_to_the_server(run: Callable[..., pytest.RunResult]) -> None:
    """Code under test finds the server by its environment, and only while the test runs."""
    result = run("""
        def test_a(dashscope):
            dashscope.reply("yes")
            assert call().json()["output"]["text"] == "yes"
            assert dashscope.requests[0].text == "hi"

        def test_b():
            assert "DASHSCOPE_HTTP_BASE_URL" not in os.environ
    """)

    result.assert_outcomes(passed=2)


def test_each_test_finds_it_as_new(run: Callable[..., pytest.RunResult]) -> None:
    """Scripts, faults, the log and its numbers don't outlive a test; the address does."""
    result = run("""
        seen = []

        @pytest.mark.parametrize("again", [False, True])
        def test_a(dashscope, again):
            assert dashscope.requests == []
            assert dashscope.connections_accepted == 0
            assert call().json()["output"]["text"].startswith("Hello!")
            dashscope.reply("left over")
            dashscope.fault(RateLimited(), times=None)
            seen.append(dashscope.base_url)
            assert len(set(seen)) == 1
            assert dashscope.requests[0].number == 1
    """)

    result.assert_outcomes(passed=2)


def test_what_runs_on_is_broken_off(run: Callable[..., pytest.RunResult]) -> None:
    """A stream that a test leaves running doesn't reach into the next test."""
    result = run("""
        import socket

        def test_a(dashscope):
            dashscope.reply(Reply(first_token_delay=60))
            body = b'{"model":"llama3.3-70b-instruct","input":{"prompt":"hi"}}'
            global sock
            sock = socket.create_connection((dashscope.host, dashscope.port))
            sock.sendall(b"POST /api/v1/services/aigc/text-generation/generation HTTP/1.1\\r\\n")
            sock.sendall(b"host: 127.0.0.1\\r\\n")
            sock.sendall(b"authorization: Bearer sk-local\\r\\n")
            sock.sendall(b"content-length: 57\\r\\n\\r\\n" + body)
            dashscope.wait_for(lambda server: server.running == 1)

        def test_b(dashscope):
            assert dashscope.running == 0
            assert sock.recv(1) == b""
            sock.close()
    """)

    result.assert_outcomes(passed=2)


def test_the_marker(run: Callable[..., pytest.RunResult]) -> None:
    """A marker scripts replies and faults; several add up."""
    result = run("""
        @pytest.mark.dashscope("by position")
        def test_reply(dashscope):
            assert call().json()["output"]["text"] == "by position"

        @pytest.mark.dashscope(reply=["a", "b"])
        def test_list(dashscope):
            assert [call().json()["output"]["text"] for _ in "ab"] == ["a", "b"]

        @pytest.mark.dashscope(fault=RateLimited(), times=2)
        def test_fault(dashscope):
            assert [call().status_code for _ in range(3)] == [429, 429, 200]

        @pytest.mark.dashscope(fault=[RateLimited(), RateLimited(status=503)])
        def test_faults(dashscope):
            assert [call().status_code for _ in range(3)] == [429, 503, 200]

        @pytest.mark.dashscope(rate=1.0, seed=1)
        @pytest.mark.dashscope(reply="never")
        def test_random(dashscope):
            try:
                failed = call().status_code != 200
            except httpx.TransportError:
                failed = True
            assert failed or dashscope.exchanges[0].fault
    """)

    result.assert_outcomes(passed=5)


def test_options(run: Callable[..., pytest.RunResult]) -> None:
    """A fixture of one's own chooses the server's arguments."""
    result = run("""
        @pytest.fixture(scope="session")
        def dashscope_options():
            return {"models": None, "api_key": "sk-mine"}

        def test_a(dashscope):
            assert call(model="qwen-plus").status_code == 200
            assert os.environ["DASHSCOPE_API_KEY"] == "sk-mine"
    """)

    result.assert_outcomes(passed=1)


def test_the_report_of_a_failing_test(run: Callable[..., pytest.RunResult]) -> None:
    """A failing test shows what the server saw; a passing one, or one without it, doesn't."""
    result = run("""
        def explain(request):
            raise KeyError("what")

        def test_a(dashscope):
            dashscope.fault(RateLimited())
            dashscope.reply(explain)
            call(), call()
            dashscope.wait_idle()
            assert False

        def test_b():
            assert False

        def test_c(dashscope):
            pass
    """)

    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*- What the local DashScope saw -*",
            "2 requests, 2 connections accepted, *",
            "#1 llama3.3-70b-instruct: call failed, fault RateLimited(), status 429, 1 piece, * ms",
            "#2 llama3.3-70b-instruct: call failed, status 500, 1 piece, * ms, KeyError*",
        ]
    )
    assert result.stdout.str().count("What the local DashScope saw") == 1


def test_proxies_are_passed_by(
    run: Callable[..., pytest.RunResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy in the environment doesn't come between, and exceptions to it stay."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "example.com")

    result = run("""
        def test_a(dashscope):
            assert call().status_code == 200
            assert os.environ["NO_PROXY"] == "example.com,127.0.0.1"
    """)

    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("funcargs", ["", "funcargs = None"])
def test_items_of_other_plugins(
    pytester: pytest.Pytester, run: Callable[..., pytest.RunResult], funcargs: str
) -> None:
    """An item that isn't a function, and has no fixtures, fails as it does without the plugin."""
    pytester.makeconftest(f"""
        import pytest

        class Item(pytest.Item):
            {funcargs}
            def runtest(self):
                assert not self.name

        class File(pytest.File):
            def collect(self):
                yield Item.from_parent(self, name="line 1")

        def pytest_collect_file(file_path, parent):
            if file_path.suffix == ".txt":
                return File.from_parent(parent, path=file_path)
    """)
    pytester.maketxtfile("a line")

    result = run("def test_a(dashscope): call()")

    result.assert_outcomes(failed=1, passed=1)
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_an_old_pluggy_can_load_it() -> None:
    """The hook is of the old kind: pytest 7 works with pluggy 1.0, which knows no other."""
    options: dict[str, object] = vars(plugin.pytest_runtest_makereport)["pytest_impl"]

    assert options["hookwrapper"]
    assert not options.get("wrapper")


def test_a_start_of_pytest_imports_next_to_nothing() -> None:
    """Pytest loads the plugin wherever it is installed; the package waits for the first fixture."""
    program = """
import sys, pytest
before = set(sys.modules)
import _llama_dashscope_pytestplugin
print(*sorted(set(sys.modules) - before))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )

    assert ended.stdout.split() == ["_llama_dashscope_pytestplugin"]


def test_the_server_takes_no_httpx() -> None:
    """Whoever imports the server waits for httpx only when an upstream is asked."""
    program = "import sys, llama_dashscope.testing; print('httpx' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )

    assert ended.stdout.strip() == "False"


def test_the_official_sdk_is_led_too(run: Callable[..., pytest.RunResult]) -> None:
    """A module named dashscope that was imported before, and read its settings then, is led."""
    result = run("""
        import sys, types

        sdk = sys.modules["dashscope"] = types.ModuleType("dashscope")
        sdk.base_http_api_url = "https://elsewhere"

        def test_a(dashscope):
            assert sdk.base_http_api_url == dashscope.base_url
            assert sdk.api_key == dashscope.api_key

        def test_b():
            assert sdk.base_http_api_url == "https://elsewhere"
    """)

    result.assert_outcomes(passed=2)


def test_the_marker_is_listed(run: Callable[..., pytest.RunResult]) -> None:
    """`pytest --markers` explains it."""
    run("", "--markers").stdout.fnmatch_lines(["@pytest.mark.dashscope(reply=None, *"])


def test_its_name_in_the_package_has_every_hook_and_fixture() -> None:
    """Where the package lies on a path and isn't installed, pytest imports that module."""
    inside = importlib.import_module("llama_dashscope.testing.plugin")
    own = {
        name
        for name, each in inspect.getmembers(plugin)
        if not name.startswith("_") and getattr(each, "__module__", "") == plugin.__name__
    }

    assert set(inside.__all__) == own
    assert all(getattr(inside, name) is getattr(plugin, name) for name in inside.__all__)


def test_under_xdist(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Each process has a server of its own, so tests side by side don't see each other."""
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    folders = os.pathsep.join(str(Path(each).resolve()) for each in sys.path)
    monkeypatch.setenv("PYTHONPATH", folders)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # each would be loaded three times
    source = """
        @pytest.mark.parametrize("number", range(20))
        def test_a(dashscope, number):
            dashscope.reply(str(number))
            assert call().json()["output"]["text"] == str(number)
            assert len(dashscope.requests) == 1
    """
    pytester.makepyfile(CALL + textwrap.dedent(source))

    result = pytester.runpytest_subprocess(
        *("-p", "xdist", "-p", "llama_dashscope.testing.plugin", "-n", "2")
    )

    result.assert_outcomes(passed=20)
