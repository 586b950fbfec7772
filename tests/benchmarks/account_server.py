"""The benchmarks' server for an account that has limits: `account_server RPM TPM SECONDS WORDS`.

It counts as `testing.AccountLimits` does, and answers on both of the service's routes: DashScope's
own and the OpenAI-compatible one. 0 is no limit. An answer takes SECONDS, a refusal a tenth of
that. WORDS, if any, are the message of a refusal on the compatible route instead of the service's.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from functools import partial
from time import monotonic
from urllib.request import urlopen

from llama_dashscope.testing._service.account_limits import (
    REQUESTS,
    TOKENS,
    Allowance,
    ModelAccount,
)
from llama_dashscope.testing._service.faults import ErrorStatus

from . import canned
from .limits import allow_many_files
from .server import OPENAI_PATH, Connection, serve

COUNTS_PATH = "/counts"
TOO_MANY = "429 Too Many Requests"
REFUSAL = 0.1
"""Share of an answer's time that a refusal takes."""
COMPATIBLE = {  # the same on the compatible route
    REQUESTS.code: ("limit_requests", "You exceeded your current requests list."),
    TOKENS.code: (
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
}


@dataclass
class Account:
    """What was asked of the server, and what it lets through.

    Args:
        limits: counts by the limits.
        seconds: how long an answer takes.
        words: the message of a refusal on the compatible route; empty for the service's own.
        requests: requests that came.
        refused: how many of them were refused.
    """

    limits: ModelAccount
    seconds: float
    words: str
    requests: int = 0
    refused: int = 0

    def refuse(self) -> ErrorStatus | None:
        """Say how a request is refused; None lets it through."""
        self.requests += 1
        refusal = self.limits.refuse(monotonic())
        self.refused += refusal is not None
        return refusal


class LimitedConnection(Connection):
    """A connection to an account that has limits."""

    def __init__(self, account: Account) -> None:
        super().__init__()
        self.account = account

    def answer(self, head: bytes, body: bytes) -> None:  # noqa: ARG002  # all are answered alike
        """Answer, refuse, or tell the counts."""
        line, _, _ = head.partition(b"\r\n")
        if COUNTS_PATH.encode() in line:
            self.transport.write(canned.whole([self.account.requests, self.account.refused]))
            return
        compatible = OPENAI_PATH in line
        if refusal := self.account.refuse():
            wait, answer, tokens = REFUSAL, self.refusal(refusal, compatible=compatible), 0
        else:
            wait, tokens = 1.0, canned.TOKENS
            answer = canned.OPENAI_ANSWER if compatible else canned.DASHSCOPE_ANSWER
        loop = asyncio.get_running_loop()
        loop.call_later(wait * self.account.seconds, self.send, answer, tokens)

    def send(self, answer: bytes, tokens: int) -> None:
        """Send an answer, whose tokens count now."""
        self.account.limits.tokens.left -= tokens
        self.transport.write(answer)

    def refusal(self, refusal: ErrorStatus, *, compatible: bool) -> bytes:
        """Say no in the form of the route."""
        if not compatible:
            answer = {"code": refusal.code, "message": refusal.message}
            return canned.whole({**answer, "request_id": canned.REQUEST_ID}, TOO_MANY)
        code, message = COMPATIBLE[refusal.code]
        error = {"message": self.account.words or message, "type": code, "param": None}
        return canned.whole(
            {"error": {**error, "code": code}, "request_id": canned.REQUEST_ID}, TOO_MANY
        )


def counts(server: str) -> tuple[int, int]:
    """Ask a server how many requests came, and how many of them it refused."""
    with urlopen(server + COUNTS_PATH, b"") as answer:  # noqa: S310  # our own server
        requests, refused = json.load(answer)
    return requests, refused


def main() -> None:
    """Serve with the limits that the arguments say."""
    rpm, tpm, seconds, words = sys.argv[1:]
    now = monotonic()
    requests, tokens = (Allowance.of(float(each) or None, now) for each in (rpm, tpm))
    account = Account(ModelAccount(requests, tokens, growth=None), float(seconds), words)
    asyncio.run(serve(partial(LimitedConnection, account)))


if __name__ == "__main__":
    allow_many_files()
    main()
