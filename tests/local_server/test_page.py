"""The status page: what it is told, and that a browser shows it."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from chromium import PROGRAM as CHROMIUM
from chromium import chromium

from llama_dashscope.testing import (
    BlackHole,
    ErrorFrame,
    LocalDashScope,
    RateLimited,
    ReceivedRequest,
    Reply,
    SlowStart,
)

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from .conftest import Call

PATH = "/api/v1/services/aigc/text-generation/generation"


def test_the_page(http: httpx.Client) -> None:
    """One file that needs nothing else, and may ask nobody else."""
    page = http.get("/")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>DashScope on this machine</title>" in page.text
    assert "https://" not in page.text
    assert http.head("/").content == b""


def test_the_policy_allows_what_the_page_needs_and_no_more(http: httpx.Client) -> None:
    """Its own script and style, its icon, and the server that it comes from."""
    page = http.get("/")

    policy = dict(
        each.strip().split(" ", 1) for each in page.headers["content-security-policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'unsafe-inline'",
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert re.findall(r'<link rel="icon" href="([^:]+:)', page.text) == [policy["img-src"]]


def test_the_status(server: LocalDashScope, http: httpx.Client, call: Call) -> None:
    """Counters, faults in waiting, and the last requests, newest first."""

    def broken(request: ReceivedRequest) -> str:
        raise KeyError(request.number)

    server.fault(RateLimited(), times=1)
    server.fault(RateLimited(retry_after=1), times=2, when=lambda request: request.text == "never")
    server.fault(BlackHole(), times=None, when=lambda request: request.text == "never")
    server.random_faults(0.025, [RateLimited()], seed=1)
    call("first")
    server.reply(broken)
    call("second", sse=True)
    server.wait_idle()

    status = http.get("/status.json").json()

    second, first = status.pop("exchanges")
    assert status == {
        "base_url": server.base_url,
        "requests": 2,
        "running": 0,
        "faults_met": 1,
        "open_connections": 1,
        "connections_accepted": 1,
        "faults": [
            "RateLimited(retry_after=1) × 2",
            "BlackHole()",
            "2.5% of the calls: RateLimited()",
        ],
    }
    assert (first["number"], first["what"], first["text"]) == (1, "llama3.3-70b-instruct", "first")
    assert (first["status"], first["fault"], first["stream"]) == (429, "RateLimited()", False)
    assert first["outcome"] == "failed"
    assert (second["outcome"], second["error"], second["pieces"]) == ("failed", "KeyError(2)", 1)


def test_one_exchange(server: LocalDashScope, http: httpx.Client, call: Call) -> None:
    """What was asked and answered, without the key and unpacked."""
    server.reply("long " * 100)
    call("介绍一下自己", headers={"accept-encoding": "gzip"})
    call("again", sse=True)
    server.wait_idle()

    called = http.get("/exchange.json?number=1").json()
    streamed = http.get("/exchange.json?number=2").json()

    assert called["line"] == f"POST {PATH}"
    assert called["headers"]["authorization"] == "***"
    assert called["headers"]["accept-encoding"] == "gzip"
    assert json.loads(called["body"])["input"]["messages"][0]["content"] == "介绍一下自己"
    assert json.loads(called["answer"])["output"]["text"].startswith("long long")
    assert streamed["answer"].startswith("id:1\nevent:result\n:HTTP_STATUS/200\ndata:{")
    assert server.api_key not in str(called | streamed)


def test_a_body_that_only_looks_like_gzip(
    server: LocalDashScope, http: httpx.Client, call: Call
) -> None:
    """It is shown as it came."""
    http.post(PATH, content=b"\x1f\x8b\x08\0garbage-garbage")
    server.wait_idle()

    assert "garbage-garbage" in http.get("/exchange.json?number=1").json()["body"]


def test_only_the_beginning_of_much_is_kept(
    server: LocalDashScope, http: httpx.Client, call: Call
) -> None:
    """An answer of megabytes takes no room in the log, and neither does a body on the page."""
    server.reply(Reply(pieces=["x" * 50_000] * 3))
    call("y" * 100_000, sse=True, incremental_output=True)
    server.wait_idle()

    shown = http.get("/exchange.json?number=1").json()

    assert (len(shown["answer"]), len(shown["body"])) == (65_536, 65_536)


def test_answers_of_long_ago_are_forgotten(
    server: LocalDashScope, http: httpx.Client, call: Call
) -> None:
    """The page shows the last 200; what was answered before is kept no longer."""
    for _ in range(201):
        call("hi")
    server.wait_idle()

    assert [each.answer is None for each in server.exchanges] == [True] + [False] * 200
    assert http.get("/exchange.json?number=1").status_code == 404
    assert http.get("/exchange.json?number=2").status_code == 200


def test_no_request_spoils_the_page(server: LocalDashScope, http: httpx.Client) -> None:
    """A body too deep to be read and names of a megabyte do no harm; all is shown short."""
    long = "x" * 1_000_000
    http.post("/", content=b"[" * 100_000, headers={"authorization": ""})
    http.post(PATH, json={"model": long, "input": {"prompt": long}})
    http.get("/" + "y" * 10_000)
    server.wait_idle()

    status = http.get("/status.json")

    assert status.status_code == 200
    assert len(status.content) < 2_000
    assert [each["what"] for each in status.json()["exchanges"]] == [
        f"GET /{'y' * 115}...",
        f"{'x' * 120}...",
        "POST /",
    ]


def test_the_default_mix_is_told_short(server: LocalDashScope, http: httpx.Client) -> None:
    """Nobody wants to read all of it."""
    server.random_faults(0.05)

    assert http.get("/status.json").json()["faults"] == ["5% of the calls: any way"]


def test_the_page_is_not_in_the_log(server: LocalDashScope, http: httpx.Client) -> None:
    """Who watches is not watched."""
    http.get("/?a=b")
    http.get("/status.json?c=d")

    server.wait_idle()
    assert server.requests == []


def test_other_methods_are_the_services_matter(http: httpx.Client) -> None:
    """The page is read only."""
    assert http.post("/").status_code == 404


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser(server: LocalDashScope, call: Call, tmp_path: Path) -> None:
    """Headless Chromium runs the page: it shows the requests, and no text becomes markup."""
    server.fault(RateLimited())
    call("<img src=x onerror=document.title='gone'>")
    call("介绍一下自己", sse=True)
    server.fault(RateLimited(), times=3)
    program = [
        *(str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu"),
        *("--disable-background-networking", f"--user-data-dir={tmp_path}"),
        *("--virtual-time-budget=2000", "--dump-dom", server.origin),
    ]

    dom = subprocess.run(program, capture_output=True, check=True, text=True, timeout=50).stdout

    assert '<dd id="requests">2</dd>' in dom
    assert "介绍一下自己" in dom
    assert "&lt;img src=x onerror=document.title='gone'&gt;" in dom
    assert "<title>DashScope on this machine</title>" in dom
    assert "RateLimited() × 3" in dom
    assert '<p class="empty" id="no-requests" hidden="">' in dom


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_only_failed_requests(server: LocalDashScope, call: Call, tmp_path: Path) -> None:
    """The filter shows errors, also those inside HTTP 200, and no answer that was only slow."""
    server.fault(ErrorFrame(after=0))
    server.fault(SlowStart(0.01))
    call("What fails?", sse=True)
    call("What is slow?", sse=True)
    call("Who are you?", body={"model": "none", "input": {"prompt": "hi"}}, sse=True)
    server.wait_idle()
    with chromium(tmp_path) as page:
        page.open(server.origin)
        page.until("document.querySelectorAll('#rows tr').length === 3")
        page.click("#only")
        page.until("document.querySelectorAll('#rows tr').length === 2")

        shown = page.look("[...document.querySelectorAll('#rows tr')].map(each => each.innerText)")

    assert ["failed" in each for each in shown] == [True, True]
    assert [each.split("\t")[0].strip() for each in shown] == ["3", "1"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_long_names_fit_the_page(server: LocalDashScope, call: Call, tmp_path: Path) -> None:
    """The name of a model and a fault without a space leave the other columns in sight."""
    server.fault(RateLimited(message="x" * 200))
    call()
    call(body={"model": "m" * 200, "input": {"prompt": "hi"}})
    with chromium(tmp_path) as page:
        page.tell(
            "Emulation.setDeviceMetricsOverride",
            width=1200,
            height=1000,
            deviceScaleFactor=1,
            mobile=False,
        )
        page.open(server.origin)
        page.until("document.querySelectorAll('#rows tr').length === 2")
        table = "document.querySelector('.scroll')"

        assert page.look(f"{table}.scrollWidth === {table}.clientWidth")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_page_while_the_server_is_down(
    server: LocalDashScope, call: Call, tmp_path: Path
) -> None:
    """It says so, also in a row that is opened now, and goes on when the server is back."""
    call("before")
    with chromium(tmp_path) as page:
        page.open(server.origin)
        page.until("document.querySelectorAll('#rows tr').length === 1")
        with server.down():
            page.until("!document.querySelector('#gone').hidden")
            page.click("#rows button")
            page.until("document.querySelectorAll('#rows .more p').length === 1")
            said = page.look("document.querySelector('#rows .more').innerText.trim()")
        call("after")
        page.until("document.querySelectorAll('#rows tr').length === 3")

        assert said == "The server is not responding."
        assert page.look("document.querySelector('#gone').hidden")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_row_opens_to_request_and_answer(
    server: LocalDashScope, call: Call, tmp_path: Path
) -> None:
    """It stays open, and the button keeps the focus, while requests come and go."""
    server.reply(["first answer", "second answer"])
    call("first question")
    with chromium(tmp_path) as page:
        page.open(server.origin)
        page.until("document.querySelectorAll('#rows tr').length === 1")
        page.look("document.querySelector('#rows button').focus()")
        page.press("Enter")
        page.until("document.querySelectorAll('#rows pre').length === 2")
        call("second question")
        page.until("document.querySelectorAll('#rows tr').length === 3")

        assert page.look("document.activeElement.ariaLabel") == "Request 1"
        assert page.look("document.activeElement.ariaExpanded") == "true"
        asked, answered = page.look(
            "[...document.querySelectorAll('#rows tr:last-child pre')].map(each => each.innerText)"
        )
        assert '"content": "first question"' in asked
        assert '"text": "first answer"' in answered
        assert page.look("document.querySelector('link[rel=icon]').href.startsWith('data:')")
        page.press("Enter")
        page.until("document.querySelectorAll('#rows tr').length === 2")
