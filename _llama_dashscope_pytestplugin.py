"""The pytest plugin: a fixture `dashscope`, installed with the package, nothing to import.

pytest imports this module at every start, in projects that never use the fixture too. So it stands
beside the package and not in it, and imports the package when a test first asks for the server.

    def test_summary(dashscope):
        dashscope.reply("short")
        assert my_program.summary("long") == "short"  # it says Client() or Generation.call(...)

The environment leads every DashScope client of the code under test to the server: this package's,
and the official SDK's. One server runs in each test process, so xdist needs no care; each test
finds it as new. A marker scripts it:

    @pytest.mark.dashscope(reply="short", fault=RateLimited(), times=2)

When a test fails, its report has a section with what the server saw.
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
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture(scope="session")
def dashscope_options() -> dict[str, Any]:
    """Arguments for `LocalDashScope`; define a fixture of this name to choose others."""
    return {}


@pytest.fixture(scope="session")
def dashscope_server(
    dashscope_options: dict[str, Any],
) -> Generator[LocalDashScope, None, None]:
    """The server of this test process; ask for `dashscope` instead."""
    from llama_dashscope.testing import LocalDashScope  # noqa: PLC0415  # see above

    with LocalDashScope(**dashscope_options) as server:
        yield server


@pytest.fixture
def dashscope(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    dashscope_server: LocalDashScope,
) -> Generator[LocalDashScope, None, None]:
    """A DashScope on this machine; for the test, the environment leads every client to it."""
    dashscope_server.reset()
    _lead(monkeypatch, dashscope_server)
    for marker in request.node.iter_markers(_FIXTURE):
        _script(dashscope_server, *marker.args, **marker.kwargs)
    yield dashscope_server
    dashscope_server.reset()


@pytest.hookimpl(hookwrapper=True)  # `wrapper` needs pluggy 1.2, and pytest 7 takes 0.12
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, Result[pytest.TestReport], None]:
    """Tell what the server saw, where a test that used it fails."""
    outcome = yield
    # An item of another plugin need not have fixtures.
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
    monkeypatch.setenv("DASHSCOPE_BASE_URL", server.base_url)  # what the official SDK 2 reads first
    for name in ("NO_PROXY", "no_proxy"):
        others = os.environ.get(name)
        monkeypatch.setenv(name, f"{others},{server.host}" if others else server.host)
    official = sys.modules.get("dashscope")  # it reads the environment once, when it is imported
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
