"""The limits of an account: requests, tokens, growth, for each model by itself."""

from __future__ import annotations

from typing import Any

import pytest

from llama_dashscope import Client, Pace, RateLimitError
from llama_dashscope.testing import (
    AccountLimits,
    CutStream,
    ErrorStatus,
    LocalDashScope,
    Mix,
)
from llama_dashscope.testing._service import account_limits

MODEL, OTHER = "llama3.3-70b-instruct", "llama3.2-3b-instruct"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Stop the limits' clock at a time of the test's choice."""
    now = [100.0]
    monkeypatch.setattr(account_limits, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def client(server: LocalDashScope) -> Any:
    """Make a client that asks once."""
    with Client(server.api_key, base_url=server.base_url, retry=0) as made:
        yield made


def code(client: Client, model: str) -> str:
    """Ask once; return the code of a refusal, empty for an answer."""
    try:
        client.call(model, "hi")
    except RateLimitError as error:
        return error.code
    return ""


def ask(client: Client, times: int, model: str = MODEL) -> list[str]:
    """Ask so many times; return what comes of each."""
    return [code(client, model) for _ in range(times)]


def test_requests(server: LocalDashScope, client: Client, clock: list[float]) -> None:
    """A minute's requests are enforced by the second, for each model by itself."""
    server.fault(AccountLimits(requests_per_minute=120), times=None)
    refused = "Throttling.RateQuota"

    assert ask(client, 3) == ["", "", refused]
    assert ask(client, 1, OTHER) == [""]
    clock[0] += 0.5
    assert ask(client, 2) == ["", refused]
    clock[0] += 60
    assert ask(client, 3) == ["", "", refused]
    assert str(server.exchanges[2].fault) == "AccountLimits: 120 requests a minute"


def test_a_slow_limit(server: LocalDashScope, client: Client, clock: list[float]) -> None:
    """Less than one a second: the next one is let through when it is due."""
    server.fault(AccountLimits(requests_per_minute=6))

    assert ask(client, 2) == ["", "Throttling.RateQuota"]
    clock[0] += 9.9
    assert ask(client, 1) == ["Throttling.RateQuota"]
    clock[0] += 0.2
    assert ask(client, 1) == [""]


def test_tokens(server: LocalDashScope, client: Client, clock: list[float]) -> None:
    """What answers cost is counted when they go out, streams once; beyond it is refused."""
    reply = client.call(OTHER, "hi")
    assert reply.usage is not None
    cost = reply.usage.total_tokens
    server.fault(AccountLimits(tokens_per_minute=cost * 60 * 2), times=None)
    refused = "Throttling.AllocationQuota"

    assert ask(client, 1) == [""]
    with client.stream(MODEL, "hi") as stream:
        stream.read()
    assert ask(client, 1) == [refused]
    clock[0] += 0.25
    assert ask(client, 2) == ["", refused]
    clock[0] += 0.25
    assert ask(client, 1) == [refused]


def test_growth(server: LocalDashScope, client: Client, clock: list[float]) -> None:
    """Ten a second are always let through, then so many times as many as in the second before."""
    server.fault(AccountLimits(growth=1.5), times=None)
    refused = "Throttling.BurstRate"

    assert ask(client, 11) == [""] * 10 + [refused]
    clock[0] += 1
    assert ask(client, 16) == [""] * 15 + [refused]
    clock[0] += 1
    assert ask(client, 23) == [""] * 22 + [refused]
    clock[0] += 2
    assert ask(client, 11) == [""] * 10 + [refused]


def test_beside_other_faults(server: LocalDashScope, client: Client, clock: list[float]) -> None:
    """Limits stand beside faults, those at random too, until the server is reset."""
    server.fault(AccountLimits(60, 1e9, 2.0), times=None)
    server.fault(ErrorStatus(retry_after=0))
    server.fault(Mix(1.0, [CutStream(0, "clean")]))
    waiting = server._script.waiting()

    with pytest.raises(Exception, match="InternalError"):
        client.call(MODEL, "hi")

    assert ask(client, 1) == ["Throttling.RateQuota"]
    server.reset()
    assert ask(client, 3) == [""] * 3
    limits = "AccountLimits: 60 requests a minute, 1e+09 tokens a minute, 2 times as many a second"
    assert waiting[-1] == limits


@pytest.mark.parametrize("wrong", [{"requests_per_minute": 0}, {"growth": -1}])
def test_limits_that_can_not_be(wrong: dict[str, float]) -> None:
    """They are above zero."""
    with pytest.raises(ValueError, match="must be above 0"):
        AccountLimits(**wrong)


def test_a_batch_within_limits(server: LocalDashScope) -> None:
    """What they are for: a client that keeps the limits is hardly ever refused."""
    server.fault(AccountLimits(requests_per_minute=6000), times=None)
    pace = Pace(requests_per_minute=5000)

    with (
        Client(server.api_key, base_url=server.base_url, pace=pace) as client,
        client.batch((f"{at}" for at in range(150)), model=MODEL) as batch,
    ):
        summary = batch.read()

    assert summary.answered == 150
    assert summary.refusals < 15
