"""The pictures of the local server's page: requests, faults, open streams, and one row expanded.

    python -m tests.benchmarks.page_pictures docs/images

It writes `serve-light.png` and `serve-dark.png`, and needs Chromium.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "_support"))

from chromium import Page, chromium

from llama_dashscope import Client, DashScopeError, Message
from llama_dashscope.testing import LocalDashScope, ReceivedRequest, Reply

WIDTH, HEIGHT = 1200, 1000
PORT = 8844
CALLS, CALLS_AFTER = 24, 2
MODELS = ("llama3.3-70b-instruct", "llama3.2-3b-instruct", "llama3.1-8b-instruct")
QUESTIONS = (
    "介绍一下自己",
    "What is 17 × 23?",
    "Summarise the meeting in three sentences.",
    "用一句话解释什么是流式输出",
    "Write a haiku about a socket.",
    "把这句话翻译成英文：今天下雨了",
)
EXPANDED = "What is the capital of Peru?"
LONG = ("用三百字介绍杭州", "Tell me a long story about a llama.")
OK = 200


def answer(request: ReceivedRequest) -> Reply:
    """Answer long questions slowly, so that their streams are open in the pictures."""
    if request.text in LONG:
        return Reply(pieces=["word "] * 600, tokens_per_second=20)
    return Reply("Lima." if request.text == EXPANDED else "One of many answers, in a few words.")


def ask(client: Client, count: int, seed: int) -> None:
    """Make calls and streams, some of which meet a fault."""
    chosen = random.Random(seed)
    for number in range(count):
        model, question = chosen.choice(MODELS), chosen.choice(QUESTIONS)
        with suppress(DashScopeError):
            if number % 3:
                with client.stream(model, question) as stream:
                    stream.read()
            else:
                client.call(model, question)


def ask_slowly(client: Client, model: str, question: str, over: threading.Event) -> None:
    """Keep a stream open until the pictures are taken; ask again if it meets a fault."""
    while not over.is_set():
        with suppress(DashScopeError), client.stream(model, question) as stream:
            stream.read()


def find_row(server: LocalDashScope) -> int | None:
    """Return the number of the call whose row is to be expanded; None until it is answered."""
    return next(
        (
            each.request.number
            for each in server.exchanges
            if each.request.text == EXPANDED and each.status == OK
        ),
        None,
    )


def take_pictures(page: Page, server: LocalDashScope, folder: Path) -> None:
    """Expand the row of an answered call, and save pictures in both colour schemes."""
    number = find_row(server)
    page.tell(
        "Emulation.setDeviceMetricsOverride",
        width=WIDTH,
        height=HEIGHT,
        deviceScaleFactor=1,
        mobile=False,
    )
    page.tell("Emulation.setScrollbarsHidden", hidden=True)
    page.open(server.origin)
    page.until(f"document.querySelector('[aria-label=\"Request {number}\"]')")
    page.look(f"document.querySelector('[aria-label=\"Request {number}\"]').click()")
    page.until("document.querySelectorAll('#rows pre').length === 2")
    page.look("document.activeElement.blur()")
    for scheme in ("light", "dark"):
        page.tell(
            "Emulation.setEmulatedMedia",
            features=[
                {"name": "prefers-color-scheme", "value": scheme},
                {"name": "prefers-reduced-motion", "value": "reduce"},
            ],
        )
        page.picture(folder / f"serve-{scheme}.png")


def main() -> None:
    """Fill a server with requests and take pictures of its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with (
        LocalDashScope(port=PORT) as server,
        Client(server.api_key, base_url=server.base_url, retry=0, timeout=1) as client,
        tempfile.TemporaryDirectory() as profile,
        chromium(Path(profile)) as page,
    ):
        server.random_faults(0.35, seed=11)
        server.reply(answer)
        ask(client, CALLS, seed=3)
        while not find_row(server):
            with suppress(DashScopeError):
                client.call(MODELS[0], messages=[Message("user", EXPANDED)])
        ask(client, CALLS_AFTER, seed=4)
        over = threading.Event()
        streams = [
            threading.Thread(target=ask_slowly, args=(client, *each, over))
            for each in zip(MODELS, LONG, strict=False)
        ]
        for each in streams:
            each.start()
        server.wait_for(lambda seen: sum(each.pieces_sent > 30 for each in seen.exchanges) >= 2, 20)
        take_pictures(page, server, folder)
        over.set()
        server.reset()
        for each in streams:
            each.join()


if __name__ == "__main__":
    main()
