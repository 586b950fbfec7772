"""The chat of docs/examples/fastapi_chat: its own tests, and a real browser at a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip("fastapi", reason="the extra fastapi is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from chromium import PROGRAM, Page, chromium

import llama_dashscope
from llama_dashscope.testing import CutStream, LocalDashScope, Moderated, Reply

EXAMPLE = Path(__file__).parents[2] / "docs/examples/fastapi_chat"
WORDS = [f"word{number} " for number in range(60)]
LAST = "document.querySelector('main > article:last-child')"

# On a machine that is busy, a browser takes its time.
pytestmark = pytest.mark.timeout(180)
with_browser = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")


def environment() -> dict[str, str]:
    """Return the environment of a program that finds the package and the example."""
    package = Path(llama_dashscope.__file__).parents[1]
    path = os.pathsep.join([str(EXAMPLE), str(package), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "NO_PROXY": "127.0.0.1"}


def test_its_own_tests_pass() -> None:
    """The tests that come with the example pass as they are copied."""
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, "test_app.py"],
        cwd=EXAMPLE,
        capture_output=True,
        check=False,
        env=environment(),
    )

    assert ended.returncode == 0, ended.stdout.decode()


@contextmanager
def started(**environ: str) -> Generator[str]:
    """Start the example as its first line says, and give its address."""
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", "0"]
    with subprocess.Popen(
        command, cwd=EXAMPLE, stderr=subprocess.PIPE, text=True, env={**environment(), **environ}
    ) as running:
        assert running.stderr is not None
        try:
            found = next(filter(None, (re.search(r"http://\S+", line) for line in running.stderr)))
            yield found[0]
        finally:
            running.terminate()


class Open(NamedTuple):
    """What all the tests with a browser share, as it takes a while to start."""

    server: LocalDashScope
    address: str
    page: Page


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """Start a DashScope, the example and a browser."""
    profile = tmp_path_factory.mktemp("profile")
    with (
        LocalDashScope() as server,
        started(**server.environ) as address,
        chromium(profile) as page,
    ):
        yield Open(server, address, page)


@pytest.fixture
def server(opened: Open) -> LocalDashScope:
    """Have a DashScope that says sixty words, a word every 50 ms."""
    opened.server.reset()
    opened.server.reply(Reply(pieces=WORDS, tokens_per_second=20))
    return opened.server


@pytest.fixture
def page(opened: Open, server: LocalDashScope) -> Page:
    """Open the chat in the browser."""
    opened.page.renew()
    opened.page.open(opened.address)
    return opened.page


READY = "document.activeElement === document.querySelector('#question') && send.checkVisibility()"


def ask(page: Page, question: str) -> None:
    """Type a question as people do: once the cursor is in its place and the button says Send."""
    page.until(READY)
    page.write(question)
    page.press("Enter")


@with_browser
def test_tokens_arrive_one_by_one(page: Page, server: LocalDashScope) -> None:
    """A question is typed; its answer grows word by word; both are part of the next question."""
    page.look(
        "window.seen = new Set(), new MutationObserver(() => seen.add("
        "document.querySelector('.theirs .text')?.innerText.length))"
        ".observe(document.querySelector('main'), {subtree: true, childList: true})"
    )
    ask(page, "Say sixty words")
    page.until("document.querySelector('.theirs .text')?.innerText.includes('word59')")

    assert page.look("document.querySelector('.theirs .text').innerText.trim()") == (
        "".join(WORDS).strip()
    )
    assert page.look("seen.size") > 5

    server.reply("Again.")
    ask(page, "And again")
    page.until(f"{LAST}.innerText.includes('Again.')")
    assert [message["content"] for message in server.requests[1].messages or ()][1:] == [
        "Say sixty words",
        "".join(WORDS),
        "And again",
    ]


@with_browser
@pytest.mark.parametrize("how", ["button", "key"])
def test_stop_stops_the_service(page: Page, server: LocalDashScope, how: str) -> None:
    """Stop, by mouse or by Escape, closes the connection to the service; what was said stays."""
    ask(page, "Say sixty words")
    page.until(f"{LAST}.querySelector('.text')?.innerText.includes('word3')")
    if how == "button":
        page.click("#stop")
    else:
        page.press("Escape")
    page.until(f"{LAST}.innerText.includes('Stopped.')")
    server.wait_for(lambda server: server.running == server.open_connections == 0)

    assert server.exchanges[0].outcome == "client left"
    assert "word3" in page.look(f"{LAST}.innerText")
    page.until(READY)


@with_browser
def test_closing_the_page_stops_the_service(page: Page, server: LocalDashScope) -> None:
    """Leaving the page is stopping, too, while the model still thinks."""
    server.reply(Reply("late", first_token_delay=600))
    ask(page, "Think")
    server.wait_for(lambda server: server.running == 1)
    page.open("about:blank")
    server.wait_for(lambda server: server.running == server.open_connections == 0)

    assert server.exchanges[0].outcome == "client left"


@with_browser
def test_what_a_model_says_is_no_html(page: Page, server: LocalDashScope) -> None:
    """Markdown is shown as such; tags and scripts in it are text, and links lead to http only."""
    server.reply(
        "# Title\n\n<img src=x onerror='window.hacked = 1'> **bold** `code` [a](https://a.example/)"
        " [b](javascript:hacked=1)\n\n- one\n- two\n\n```js\n<script>hacked = 1</script>\n```\n"
    )
    ask(page, "Attack")
    page.until(f"{LAST}.querySelector('pre')?.innerText.includes('</script>')")

    def count(selector: str) -> object:
        return page.look(f"{LAST}.querySelectorAll('.text {selector}').length")

    shown = ["h3", "strong", "p code", "a", "li", "pre"]
    assert [count(selector) for selector in shown] == [1, 1, 1, 1, 2, 1]
    assert [count("img"), count("script"), page.look("typeof window.hacked")] == [0, 0, "undefined"]
    assert "<script>" in page.look(f"{LAST}.querySelector('pre').innerText")


@with_browser
def test_errors_are_shown_in_words(page: Page, server: LocalDashScope) -> None:
    """A refusal shows the service's words; a cut in the middle keeps what was said."""
    server.fault(Moderated(message="Not this."))
    ask(page, "Something bad")
    page.until(f"{LAST}.innerText.includes('Not this.')")
    server.fault(CutStream(after=3))
    ask(page, "Say sixty words")
    page.until(f"{LAST}.querySelector('.bad') && {LAST}.innerText.includes('word0 word1 word2')")

    assert len(server.requests[1].messages or ()) == 2


@with_browser
def test_a_screen_reader_finds_its_way(page: Page, server: LocalDashScope) -> None:
    """Parts have roles and names; news is told once, when it is whole."""
    server.reply("A short answer.")
    ask(page, "Hello")
    page.until("document.querySelector('#status').innerText.includes('A short answer.')")
    page.until(READY)
    tree = page.tell("Accessibility.getFullAXTree")["nodes"]
    found = {
        (node["role"]["value"], node.get("name", {}).get("value"))
        for node in tree
        if not node["ignored"]
    }

    assert {
        ("main", "Conversation"),
        ("textbox", "Your message"),
        ("button", "Send"),
        ("button", "New conversation"),
        ("heading", "You"),
        ("heading", "Llama"),
    } <= found
    assert "status" in {role for role, _ in found}


@with_browser
def test_it_has_a_dark_side(page: Page) -> None:
    """Colours follow the system."""
    colours: list[object] = []
    for scheme in ("light", "dark"):
        page.tell(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        colours.append(page.look("getComputedStyle(document.body).backgroundColor"))

    assert colours == ["rgb(251, 251, 250)", "rgb(22, 24, 29)"]
