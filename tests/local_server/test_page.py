"""The status page: what it is told, and that a browser shows it."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from llama_dashscope.testing import BlackHole, LocalDashScope, RateLimited, ReceivedRequest

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from .conftest import Call

PATH = "/api/v1/services/aigc/text-generation/generation"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def test_the_page(http: httpx.Client) -> None:
    """One file that needs nothing else, and may ask nobody else."""
    page = http.get("/")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>DashScope on this machine</title>" in page.text
    assert "https://" not in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert http.head("/").content == b""


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
    assert (second["outcome"], second["error"], second["pieces"]) == ("failed", "KeyError(2)", 1)


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
