"""The pytest plugin: the fixture `dashscope`, available as soon as the package is installed.

pytest imports this module at every start, even in projects that don't use the fixture. So it is
outside of the package, and imports the package only when a test first uses the server.

    def test_summary(dashscope):
        dashscope.reply("short")
        assert my_program.summary("long") == "short"  # it uses Client() or Generation.call(...)

Environment variables direct every DashScope client in the code under test to the server: this
package's and the official SDK's. Each test process has its own server, so xdist works; the server
is reset for each test. A marker scripts it:

    @pytest.mark.dashscope(reply="short", fault=RateLimited(), times=2)

The report of a failed test has a section with the requests that the server received.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pluggy import Result

    from llama_dashscope.testing import Fault, LocalDashScope
    from llama_dashscope.testing._service.script import Source

_FIXTURE = "dashscope"
_MARKER = (
    "dashscope(reply=None, fault=None, times=1, rate=None, seed=None): script the server of the "
    "dashscope fixture: what it replies, one fault or several and how many times each, or the "
    "share of calls that fail at random, with a seed"
)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture(scope="session")
def dashscope_options() -> dict[str, Any]:
    """Arguments for `LocalDashScope`; override this fixture to change them."""
    return {}


@pytest.fixture(scope="session")
def dashscope_server(
    dashscope_options: dict[str, Any],
) -> Generator[LocalDashScope, None, None]:
    """The server of this test process; tests use `dashscope` instead."""
    from llama_dashscope.testing import LocalDashScope  # noqa: PLC0415  # see above

    with LocalDashScope(**dashscope_options) as server:
        yield server


@pytest.fixture
def dashscope(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    dashscope_server: LocalDashScope,
) -> Generator[LocalDashScope, None, None]:
    """A local DashScope; during the test, environment variables direct every client to it."""
    dashscope_server.reset()
    _lead(monkeypatch, dashscope_server)
    for marker in request.node.iter_markers(_FIXTURE):
        _script(dashscope_server, *marker.args, **marker.kwargs)
    yield dashscope_server
    dashscope_server.reset()


@pytest.hookimpl(hookwrapper=True)  # `wrapper` needs pluggy 1.2, but pytest 7 accepts 0.12
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, Result[pytest.TestReport], None]:
    """Add the server's report to that of a failed test."""
    outcome = yield
    # Items of other plugins may have no fixtures.
    fixtures: dict[str, Any] | None = getattr(item, "funcargs", None)
    server: LocalDashScope | None = (fixtures or {}).get(_FIXTURE)
    if server is None:
        return
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        report.sections.append(("What the local DashScope saw", server.report()))


def _lead(monkeypatch: pytest.MonkeyPatch, server: LocalDashScope) -> None:
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DASHSCOPE_BASE_URL", server.base_url)  # version 2 of the official SDK
    for name in ("NO_PROXY", "no_proxy"):
        others = os.environ.get(name)
        monkeypatch.setenv(name, f"{others},{server.host}" if others else server.host)
    official = sys.modules.get("dashscope")  # it reads the environment only once, at its import
    if official:
        monkeypatch.setattr(official, "base_http_api_url", server.base_url, raising=False)
        monkeypatch.setattr(official, "api_key", server.api_key, raising=False)


def _script(
    server: LocalDashScope,
    reply: Source | Sequence[Source] | None = None,
    *,
    fault: Fault | Sequence[Fault] = (),
    times: int | None = 1,
    rate: float | None = None,
    seed: int | None = None,
) -> None:
    if reply is not None:
        server.reply(reply)
    for each in fault if isinstance(fault, Sequence) else (fault,):
        server.fault(each, times=times)
    if rate is not None:
        server.random_faults(rate, seed=seed)
