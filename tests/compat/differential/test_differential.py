"""Each snippet does the same with the official SDK and with this package."""

from __future__ import annotations

import pytest

from llama_dashscope.testing import LocalDashScope

from . import calls, programs, reading, refusals, streams
from .case import Case
from .differences import DIFFERENCES, Difference
from .observe import Outcome, Sdk, run

pytestmark = pytest.mark.filterwarnings("ignore")  # the official SDK's warnings are its own

CASES = [
    *calls.CASES,
    *streams.CASES,
    *refusals.CASES,
    *reading.CASES,
    *programs.CASES,
]


def outcome(case: Case | Difference, sdk: Sdk, server: LocalDashScope) -> Outcome:
    """Run a case on one side, from the same beginning as on the other."""
    server.reset()
    case.prepare(server)
    sdk.api_key, sdk.base_http_api_url = server.api_key, server.base_url
    return run(case.snippet, sdk, server)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_same(case: Case, theirs: Sdk, ours: Sdk, server: LocalDashScope) -> None:
    """Requests, values, exceptions and output are the official SDK's."""
    expected = outcome(case, theirs, server)
    actual = outcome(case, ours, server)

    assert expected.sent == actual.sent
    assert expected.seen == actual.seen
    assert expected.printed == actual.printed


@pytest.mark.parametrize("kept", DIFFERENCES, ids=lambda kept: kept.name)
def test_a_difference_is_as_listed(
    kept: Difference, theirs: Sdk, ours: Sdk, server: LocalDashScope
) -> None:
    """Each side does what the list of differences says, no more and no less."""
    expected = outcome(kept, theirs, server)
    actual = outcome(kept, ours, server)

    assert (kept.look(expected), len(expected.sent)) == (kept.theirs, kept.requests[0])
    assert (kept.look(actual), len(actual.sent)) == (kept.ours, kept.requests[1])
