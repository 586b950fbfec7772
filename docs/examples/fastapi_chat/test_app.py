"""Tests of the chat without a browser; copy them with the application."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from app import app

from llama_dashscope.testing import LocalDashScope, Moderated, RateLimited, Reply

QUESTION = [{"role": "user", "content": "What is a llama?"}]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalDashScope]:
    """Point the application at a DashScope on this machine."""
    with LocalDashScope() as server:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        yield server


async def post(turns: list[dict[str, str]]) -> httpx.Response:
    """Start the application and send it a conversation."""
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as browser,
    ):
        return await browser.post("/chat", json=turns)


def data(reply: httpx.Response) -> list[dict[str, Any]]:
    """Return what the events of an answer hold."""
    return [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")]


@pytest.mark.anyio
async def test_an_answer_arrives_in_pieces(server: LocalDashScope) -> None:
    """The page gets each piece as an event, and the service the whole conversation."""
    server.reply(Reply(pieces=["An ", "animal."]))
    reply = await post(QUESTION)

    assert [event["delta"] for event in data(reply)[:-1]] == ["An ", "animal."]
    assert [message["role"] for message in server.requests[0].messages or ()] == ["system", "user"]


@pytest.mark.anyio
async def test_a_refused_question_says_why(server: LocalDashScope) -> None:
    """What the service won't answer is a 400 with its words."""
    server.fault(Moderated(message="Not this."))
    reply = await post(QUESTION)

    assert (reply.status_code, reply.json()["detail"]) == (400, "Not this.")


@pytest.mark.anyio
async def test_a_busy_service_says_when_to_come_back(server: LocalDashScope) -> None:
    """A rate limit that doesn't pass is a 429 with Retry-After."""
    server.fault(RateLimited(retry_after=0.01), times=None)

    assert (await post(QUESTION)).headers["retry-after"] == "1"


@pytest.mark.anyio
@pytest.mark.parametrize("turns", [[], [{"role": "system", "content": "x"}], [{"role": "user"}]])
async def test_nonsense_goes_no_further(
    server: LocalDashScope, turns: Any
) -> None:  # nonsense has no type
    """A conversation that is none is refused before the service hears of it."""
    assert (await post(turns)).status_code == 422
    assert server.requests == []


@pytest.mark.anyio
async def test_without_a_key_this_machine_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts the application without a key gets an answer that says so."""
    monkeypatch.delenv("DASHSCOPE_API_KEY", raising=False)
    text = "".join(event.get("delta", "") for event in data(await post(QUESTION)))

    assert "You said: *What is a llama?*" in text
