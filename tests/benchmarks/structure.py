"""The cost of reading beyond `json.loads`: one frame of a stream and one whole response.

Each row is the cheapest of several rounds. The bar is 10 us a frame and a response.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from time import process_time
from typing import NamedTuple

from llama_dashscope._protocol.failure import ResponseHead
from llama_dashscope._protocol.request import Payload
from llama_dashscope._protocol.response import read_response
from llama_dashscope._protocol.sse import Decoder
from llama_dashscope._protocol.stream_parser import StreamParser, chunks_of
from llama_dashscope._settings import ApiKey

BAR = 10.0
HEAD = ResponseHead(200, {}, ApiKey("sk-0"), "dashscope.aliyuncs.com")
USAGE = '"usage":{"total_tokens":18,"input_tokens":16,"output_tokens":2}'
REQUEST_ID = '"request_id":"5b441aa7-0b9c-9fbc-ae0a-e2b212b71eac"'


def message(content: str, reason: str) -> str:
    """Write a payload in the `message` result format."""
    answer = (
        f'{{"message":{{"content":"{content}","role":"assistant"}},"finish_reason":"{reason}"}}'
    )
    return f'{{"output":{{"choices":[{answer}]}},{USAGE},{REQUEST_ID}}}'


def text(content: str, reason: str) -> str:
    """Write a payload in the `text` result format."""
    answer = f'{{"finish_reason":"{reason}","text":"{content}"}}'
    return f'{{"output":{answer},{USAGE},{REQUEST_ID}}}'


class Row(NamedTuple):
    """One measurement: a job, run over all of its bodies."""

    name: str
    job: Callable[[list[bytes]], None]
    bodies: list[bytes]


def loads(bodies: list[bytes]) -> None:
    """Parse each body, and nothing more: the floor."""
    for body in bodies:
        json.loads(body)


def whole(bodies: list[bytes]) -> None:
    """Read each body as a response."""
    for body in bodies:
        _ = read_response(HEAD, body).text


def streamed(bodies: list[bytes]) -> None:
    """Read each body as a frame of one stream, from bytes to chunks."""
    payload = Payload(b"{}", streaming=True, incremental=True, choices=1)
    decoder, parser = Decoder(), StreamParser(HEAD, payload, chunks_of)
    for at, body in enumerate(bodies):
        for event in decoder.feed(
            b"id:%d\nevent:result\n:HTTP_STATUS/200\ndata:%s\n\n" % (at, body)
        ):
            for chunk in parser.read(event) or ():
                _ = chunk.delta


def cost(job: Callable[[list[bytes]], None], bodies: list[bytes], rounds: int) -> float:
    """Return the microseconds per body in the fastest round."""

    def once() -> float:
        began = process_time()
        job(bodies)
        return process_time() - began

    return min(once() for _ in range(rounds)) / len(bodies) * 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=5_000, help="frames or bodies in a round")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    rows = [
        Row(f"a {kind}, {write.__name__}", job, [write(f"词{at}", reason).encode() for at in count])
        for count in [range(options.frames)]
        for kind, job, reason in (("frame", streamed, "null"), ("response", whole, "stop"))
        for write in (message, text)
    ]
    print(f"{'us each':22}{'in all':>10}{'json.loads':>12}{'beyond':>10}   bar {BAR:g}")
    for row in rows:
        floor = cost(loads, row.bodies, options.rounds)
        found = cost(row.job, row.bodies, options.rounds)
        verdict = "held" if found - floor <= BAR else "MISSED"
        print(f"{row.name:22}{found:10.2f}{floor:12.2f}{found - floor:10.2f}   {verdict}")


if __name__ == "__main__":
    main()
