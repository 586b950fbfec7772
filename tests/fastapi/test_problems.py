"""Errors as HTTP: what a browser is told of each, and what it is not."""

from __future__ import annotations

import http
import logging
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra fastapi is not installed")

from fastapi import FastAPI

import llama_dashscope as house
from llama_dashscope.fastapi import (
    PROBLEMS,
    ClientDep,
    EventStream,
    Problem,
    add_exception_handlers,
    lifespan,
)
from llama_dashscope.testing import ErrorFrame, ErrorStatus, LocalDashScope, Moderated, RateLimited

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


PAGE = "<html><body>upstream 10.0.0.1:8080 timed out</body></html>"


@pytest.mark.parametrize(
    "kind", [house.BadRequestError, house.RequestTooLargeError, house.RateLimitError]
)
@pytest.mark.parametrize("code", ["", "400"])
def test_words_that_are_not_the_services_stay_here(
    kind: type[house.DashScopeError], code: str
) -> None:
    """A gateway's page or JSON, which has no code of the service, is not shown below 500 either."""
    problem = Problem.of(kind(PAGE, code=code))
    response = problem.to_response()

    assert "10.0.0.1" not in str(problem.to_event()) + bytes(response.body).decode()
    assert problem.message == http.HTTPStatus(problem.status).phrase


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        *((None, "60"), (0.2, "1"), (7, "7"), (-5, "0"), (86_400.5, "86400")),
        *((1e300, "86400"), (float("inf"), "86400"), (float("nan"), "60"), (float("-inf"), "0")),
    ],
)
def test_a_rate_limit_says_when_to_come_back(asked: float | None, told: str) -> None:
    """Retry-After is the service's in whole seconds up to a day; a minute where it says nothing."""
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


class Session:
    """Something of the application that no browser should see."""

    def __repr__(self) -> str:
        return f"Session({SECRET!r})"


@pytest.mark.parametrize("argument", [SECRET, Session(), float("nan"), 10**5000], ids=type)
def test_a_refused_argument_shows_no_value(argument: object) -> None:
    """The browser reads which argument was refused and why, and nothing of its value."""
    options: Any = {"temperature": argument}
    with house.Client("sk-local") as client, pytest.raises(house.InvalidRequestError) as caught:
        client.call(MODEL, messages=[{"role": "user", "content": "hi"}], **options)

    problem = Problem.of(caught.value)

    assert problem.message.startswith("temperature must be ")
    assert "got" not in problem.message


@pytest.mark.anyio
async def test_a_path_forges_no_line_of_the_log(
    server: LocalDashScope, caplog: pytest.LogCaptureFixture
) -> None:
    """What a browser puts into the path stays on its line, short and escaped."""
    app = FastAPI(lifespan=lifespan)
    add_exception_handlers(app)

    @app.get("/{rest}")
    async def answer(client: ClientDep, rest: str) -> str:
        return (await client.acall(MODEL, messages=[{"role": "user", "content": rest}])).text

    @app.get("/stream/{rest}")
    async def stream(client: ClientDep, rest: str) -> EventStream:
        return EventStream(client.astream(MODEL, messages=[{"role": "user", "content": rest}]))

    server.fault(ErrorStatus(401, "InvalidApiKey", "no"), times=1)
    server.fault(ErrorFrame(after=1), times=1)
    with caplog.at_level(logging.WARNING, "llama_dashscope"):
        async with browsing(app) as browser:
            for path in ("/a", "/stream/b"):
                await browser.get(f"{path}%0aCRITICAL%20forged%1b[2J{'x' * 1000}")

    told = [record.getMessage() for record in caplog.records]
    assert [line[:32] for line in told] == [
        r"/a\nCRITICAL forged\x1b[2Jxxxxxx",
        r"/stream/b\nCRITICAL forged\x1b[2",
    ]
    assert [len(line.splitlines()) for line in told] == [1, 1]
    assert max(map(len, told)) < 400


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
