"""A FastAPI handler under random faults: its users always get a readable answer."""

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from llama_dashscope import Client, DashScopeError, Message, Retry
from llama_dashscope.testing import LocalDashScope

MODEL = "llama3.3-70b-instruct"
app = FastAPI()


@app.get("/answer")
async def answer(question: str) -> JSONResponse:
    """The code under test."""
    async with Client(retry=Retry(1, base=0.01)) as client:
        try:
            reply = await client.acall(MODEL, messages=[Message("user", question)])
        except DashScopeError:
            return JSONResponse({"sorry": "Please ask again."}, status_code=503)
        return JSONResponse({"text": reply.text})


@pytest.fixture
def anyio_backend() -> str:
    """Run the application on asyncio, as a server does."""
    return "asyncio"


@pytest.mark.anyio
async def test_a_bad_day(dashscope: LocalDashScope) -> None:
    """One call in three fails, in one of all possible ways; the seed makes runs repeatable."""
    dashscope.reply("42")
    dashscope.random_faults(1 / 3, seed=7)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as browser:
        answers = [await browser.get("/answer?question=why") for _ in range(30)]

    assert {each.status_code for each in answers} == {200, 503}
    assert all(each.json() in ({"text": "42"}, {"sorry": "Please ask again."}) for each in answers)
    assert sum(each.status_code == 200 for each in answers) > 20
    assert any(each.fault for each in dashscope.exchanges)
