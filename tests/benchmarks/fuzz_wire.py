"""Fuzzes the decoders: any error that is not one of the package's own is a bug.

With atheris installed, the fuzzing is guided by coverage and takes libFuzzer's arguments (`python
tests/benchmarks/fuzz_wire.py -runs=1000000`); without, it uses random numbers (`--runs`, `--seed`).
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

SAMPLES = Path(__file__).parents[1] / "samples"
WORDS = [
    *(
        b"data:",
        b"event:error\n",
        b"id:1\n",
        b":HTTP_STATUS/429 X\n",
        b"\xef\xbb\xbf",
        b"\r\n",
        b"\n",
    ),
    *(b'{"output":', b'"text":', b'"choices":[{', b'"message":{"content":', b'"tool_calls":[{'),
    *(b'"finish_reason":"null"', b'"usage":{"input_tokens":', b'"code":"Throttling"', b'"error":{'),
    *(b"null", b"[]", b"{}", b"1e999", b"NaN", b'"\\ud800"', b"\xe2\x80\xa8", b"[DONE]", b"}}}"),
]


def load() -> Callable[[bytes], None]:
    """Import the decoders, late enough to be instrumented, and return the functions to fuzz."""
    from llama_dashscope import DashScopeError, IncompleteResponseError
    from llama_dashscope._protocol.failure import ResponseHead, read_failure
    from llama_dashscope._protocol.request import Payload
    from llama_dashscope._protocol.response import read_response
    from llama_dashscope._protocol.sse import Decoder, EventTooLargeError, ServerSentEvent
    from llama_dashscope._protocol.stream_parser import StreamParser, chunks_of
    from llama_dashscope._settings import ApiKey

    def decode(pieces: list[bytes], size: int) -> tuple[list[ServerSentEvent], bool]:
        decoder, events = Decoder(size), list[ServerSentEvent]()
        try:
            for piece in pieces:
                events += decoder.feed(piece)
        except EventTooLargeError as error:
            return events + error.events, True
        return events + decoder.finish(), False

    def read_as_stream(
        head: ResponseHead, events: list[ServerSentEvent], *, incremental: bool
    ) -> None:
        payload = Payload(b"{}", streaming=True, incremental=incremental, choices=1)
        parser = StreamParser(head, payload, chunks_of)
        with suppress(DashScopeError):
            for event in events:
                for chunk in parser.read(event) or ():
                    assert isinstance(chunk.text, str)
                    assert str(chunk)
        assert isinstance(parser.answer.response().text, str)

    def try_one(data: bytes) -> None:
        kind, size, body = data[:1], data[1:2], data[2:]
        status = 200 if not kind or kind[0] & 1 else 300 + kind[0]
        head = ResponseHead(
            status, {"retry-after": body[:20].decode("latin-1")}, ApiKey("sk-0"), "host"
        )
        limit = 8 * size[0] if size and size[0] else 1 << 20
        found = decode([body], limit)
        assert found == decode([body[at : at + 1] for at in range(len(body))], limit)
        read_as_stream(head, found[0], incremental=bool(kind and kind[0] & 2))
        assert isinstance(read_failure(head, body), DashScopeError)
        with suppress(DashScopeError, IncompleteResponseError):
            assert str(read_response(head, body))

    return try_one


def inputs(seed: int) -> Iterator[bytes]:
    """Cut, join and corrupt recorded bodies, endlessly."""
    chance = random.Random(seed)  # no secret
    recorded = [path.read_bytes() for path in sorted(SAMPLES.glob("*/body.*"))]
    while True:
        parts = chance.choices([chance.choice(recorded), *WORDS, chance.randbytes(3)], k=9)
        body = bytearray(
            b"".join(part[: chance.randrange(len(part) + 1) or None] for part in parts)
        )
        for _ in range(chance.randrange(4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        yield chance.randbytes(2) + body


def main() -> None:
    """Fuzz, and print how many inputs were tried."""
    if find_spec("atheris"):
        import sys

        atheris = import_module("atheris")
        with atheris.instrument_imports(include=["llama_dashscope", "json"]):
            try_one = load()
        atheris.Setup(sys.argv, try_one)
        atheris.Fuzz()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try_one, bodies = load(), inputs(options.seed)
    for _ in range(options.runs):
        try_one(next(bodies))
    print(f"{options.runs} inputs, no find")


if __name__ == "__main__":
    main()
