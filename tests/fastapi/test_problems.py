"""Errors as HTTP: what a browser is told of each, and what it is not."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("fastapi", reason="the extra fastapi is not installed")

from fastapi import FastAPI

import llama_dashscope as house
from llama_dashscope.fastapi import (
    PROBLEMS,
    ClientDep,
    Problem,
    add_exception_handlers,
    lifespan,
)
from llama_dashscope.testing import ErrorStatus, LocalDashScope, Moderated, RateLimited

from .conftest import browsing

MODEL = "llama3.3-70b-instruct"
SECRET = "the account acc-1 behind 10.0.0.1 is in debt"


def errors() -> list[type[house.DashScopeError]]:
    """Name every class of the tree."""
    return [
        thing
        for name in house.__all__
        if isinstance(thing := getattr(house, name), type)
        and issubclass(thing, house.DashScopeError)
    ]


EXPECTED = {
    "APIConnectionError": 503,
    "APIStatusError": 502,
    "APITimeoutError": 504,
    "AuthenticationError": 502,
    "BadRequestError": 400,
    "ClientClosedError": 503,
    "ConfigurationError": 502,
    "ContentFilterError": 400,
    "DashScopeError": 502,
    "IncompleteResponseError": 502,
    "InternalServerError": 503,
    "InvalidRequestError": 400,
    "NotFoundError": 502,
    "PermissionDeniedError": 502,
    "QuotaExhaustedError": 502,
    "RateLimitError": 429,
    "RequestTooLargeError": 413,
    "ResponseError": 502,
    "ServiceUnavailableError": 503,
}


@pytest.mark.parametrize("kind", errors(), ids=lambda kind: kind.__name__)
def test_every_error_has_its_status(kind: type[house.DashScopeError]) -> None:
    """Each class of the tree becomes the status that says whose business it is."""
    problem = Problem.of(kind("words", code="Code", request_id="r-1"))

    assert problem.status == next(
        EXPECTED[base.__name__] for base in kind.__mro__ if base.__name__ in EXPECTED
    )
    assert problem.request_id == "r-1"
    assert problem.status in PROBLEMS


@pytest.mark.parametrize("kind", errors(), ids=lambda kind: kind.__name__)
def test_what_is_not_the_browsers_business_stays_here(kind: type[house.DashScopeError]) -> None:
    """From 500 on, neither the service's words nor its code reach the browser."""
    problem = Problem.of(kind(SECRET, code="Arrearage"))
    shown = str(problem.to_event()) + bytes(problem.to_response().body).decode()

    assert (SECRET in shown, "Arrearage" in shown) == (problem.status < 500,) * 2


@pytest.mark.parametrize(("asked", "told"), [(None, "60"), (0.2, "1"), (7, "7")])
def test_a_rate_limit_says_when_to_come_back(asked: float | None, told: str) -> None:
    """Retry-After is the service's in whole seconds, or a minute where the service says nothing."""
    response = Problem.of(house.RateLimitError("slow down", retry_after=asked)).to_response()

    assert response.headers["retry-after"] == told


def test_other_problems_say_it_only_if_the_service_does() -> None:
    """A 503 has Retry-After where the service asked for a pause, and not otherwise."""
    silent = Problem.of(house.ServiceUnavailableError("full")).to_response()
    asking = Problem.of(house.ServiceUnavailableError("full", retry_after=5)).to_response()

    assert "retry-after" not in silent.headers
    assert asking.headers["retry-after"] == "5"


def test_a_problem_without_words_names_its_status() -> None:
    """Where neither code nor message is known, the status's own name stands in."""
    problem = Problem.of(house.BadRequestError())

    assert (problem.code, problem.message) == ("BadRequest", "Bad Request")


@pytest.fixture
def app() -> FastAPI:
    """Make an application with handlers for errors."""
    app = FastAPI(lifespan=lifespan, responses=PROBLEMS)
    add_exception_handlers(app)

    @app.get("/answer")
    async def answer(client: ClientDep, model: str = MODEL, question: str = "hi") -> str:
        messages = [{"role": "user", "content": question}]
        return (await client.acall(model, messages=messages)).text

    return app


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Moderated(), 400, "DataInspectionFailed"),
        (RateLimited(retry_after=0.01), 429, "Throttling.RateQuota"),
        (ErrorStatus(401, "InvalidApiKey", "sk-local is no key"), 502, "BadGateway"),
        (ErrorStatus(400, "Arrearage", "overdue"), 502, "BadGateway"),
    ],
    ids=["moderated", "limited", "key", "bill"],
)
async def test_an_error_of_the_service_is_problem_json(
    app: FastAPI, server: LocalDashScope, fault: ErrorStatus, status: int, code: str
) -> None:
    """What a handler lets pass arrives as problem+json, with the call's request_id."""
    server.fault(fault, times=None)
    async with browsing(app) as browser:
        reply = await browser.get("/answer")

    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert set(reply.json()) == {"type", "title", "status", "detail", "code", "request_id"}
    assert (reply.json()["status"], reply.json()["code"]) == (status, code)
    assert reply.json()["request_id"]
    assert "sk-local" not in reply.text


@pytest.mark.anyio
async def test_a_refused_argument_is_a_400(app: FastAPI, server: LocalDashScope) -> None:
    """An argument that the client refuses is the browser's mistake, and says which."""
    async with browsing(app) as browser:
        reply = await browser.get("/answer", params={"model": " "})

    assert reply.status_code == 400
    assert "model" in reply.json()["detail"]
    assert server.requests == []


@pytest.mark.anyio
async def test_the_owner_reads_what_the_browser_does_not(
    app: FastAPI, server: LocalDashScope, caplog: pytest.LogCaptureFixture
) -> None:
    """The cause of a 502 is a warning of the logger llama_dashscope, without the key."""
    server.fault(ErrorStatus(401, "InvalidApiKey", "sk-local is no key"))
    with caplog.at_level(logging.WARNING, "llama_dashscope"):
        async with browsing(app) as browser:
            await browser.get("/answer")

    assert "/answer answers 502: AuthenticationError: InvalidApiKey" in caplog.text
    assert "sk-local" not in caplog.text


def test_the_schema_shows_the_problems(app: FastAPI) -> None:
    """OpenAPI lists each status with problem+json and its members, and 429 with its header."""
    responses = app.openapi()["paths"]["/answer"]["get"]["responses"]

    assert {str(status) for status in PROBLEMS} < set(responses)
    for status in PROBLEMS:
        schema = responses[str(status)]["content"]["application/problem+json"]["schema"]
        assert {"code", "detail", "request_id"} <= set(schema["properties"])
    assert "Retry-After" in responses["429"]["headers"]
