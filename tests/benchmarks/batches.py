"""Safety, memory, CPU time and pace of batches: `python -m tests.benchmarks.batches [MEASURE ...]`.

kills    20 SIGKILLs in 20,000 items with 2 % faults: lost, twice in the journal, asked twice
memory   peak memory of 5,000 and of 200,000 items
cpu      CPU time per item, beyond that of a bare call
index    memory of a million ids of a journal
known    a limit given to the pace: share of it that is used, share of requests refused
unknown  a limit that the pace has to find: the same shares, after 40 seconds
tokens   a limit of tokens, with estimates that are far too high

Each measure runs in a process of its own, against a server in another. `batch_peers` compares
batches with other ways to ask.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, process_time
from typing import TextIO

from llama_dashscope import Client, Pace, read_journal
from llama_dashscope.batch.digest_index import DigestIndex, body_digest, id_digest
from llama_dashscope.testing import LocalDashScope, ReceivedRequest, Unavailable

from . import server as canned_server
from .limits import allow_many_files
from .operations import resident

MODEL = "llama3.3-70b-instruct"
KEY = "sk-local"
FREE = Pace(requests_per_minute=1e9, adaptive=False)
LIMIT = 200
"""The account's limit, in requests per second."""


def items(count: int) -> Iterator[dict[str, str]]:
    """Yield `count` questions."""
    return ({"custom_id": f"item-{at}", "prompt": f"question {at}"} for at in range(count))


def client_of(base_url: str, pace: Pace | None = FREE) -> Client:
    """Return a client of a server."""
    return Client(KEY, base_url=base_url, pace=pace)


# parts that run in a process of their own: python -m tests.benchmarks.batches run NAME ARGUMENT...


def run_journal(base_url: str, journal: str, count: str) -> None:
    """Run a batch with a journal, to be killed."""
    with (
        client_of(base_url) as client,
        client.batch(items(int(count)), model=MODEL, journal=journal) as batch,
    ):
        batch.read()


def run_memory(base_url: str, count: str) -> None:
    """Run a batch and print its peak memory, in KiB."""
    asyncio.run(_drain(base_url, int(count)))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def run_batch(base_url: str, count: str, journal: str) -> None:
    """Print the CPU time of an item in a batch, in microseconds."""
    asyncio.run(_drain(base_url, 500))
    began = process_time()
    asyncio.run(_drain(base_url, int(count), journal or None))
    print((process_time() - began) / int(count) * 1e6)


async def _drain(base_url: str, count: int, journal: str | None = None) -> None:
    async with (
        client_of(base_url) as client,
        client.abatch(items(count), model=MODEL, journal=journal) as batch,
    ):
        await batch.aread()


def run_calls(base_url: str, count: str) -> None:
    """Print the CPU time of a bare call, with 100 in flight, in microseconds."""

    async def work(client: Client, given: Iterator[dict[str, str]]) -> None:
        for item in given:
            await client.acall(MODEL, item["prompt"])

    async def calls(number: int) -> None:
        async with client_of(base_url, None) as client:
            given = items(number)
            await asyncio.gather(*(work(client, given) for _ in range(100)))

    asyncio.run(calls(500))
    began = process_time()
    asyncio.run(calls(int(count)))
    print((process_time() - began) / int(count) * 1e6)


def run_index() -> None:
    """Print the memory of a million ids, in bytes."""
    before = resident()
    index = DigestIndex()
    for at in range(1_000_000):
        index.put(id_digest(f"item-{at}"), body_digest(b"%d" % at), 1)
    print(resident() - before)


def run_paced(base_url: str, count: str, rpm: str, tpm: str) -> None:
    """Run a batch at a pace; print the answers in each second, and the refusals."""
    pace = Pace(float(rpm) or None, float(tpm) or None)
    seconds: Counter[int] = Counter()
    with (
        client_of(base_url, pace) as client,
        client.batch(items(int(count)), model=MODEL, concurrency=200) as batch,
    ):
        began = monotonic()
        for result in batch:
            seconds[int(monotonic() - began)] += result.error is None
    rates = [seconds[at] for at in range(max(seconds) + 1)]
    summary = batch.summary
    print(json.dumps([rates, summary.refusals, summary.answered, summary.seconds]))


PARTS: dict[str, Callable[..., None]] = {
    "journal": run_journal,
    "memory": run_memory,
    "batch": run_batch,
    "calls": run_calls,
    "index": run_index,
    "paced": run_paced,
}


def command(part: str, *arguments: object) -> list[str]:
    """Return the command that starts a part."""
    return [sys.executable, "-m", "tests.benchmarks.batches", "run", part, *map(str, arguments)]


def output(part: str, *arguments: object) -> str:
    """Run a part and return its output."""
    return subprocess.run(
        command(part, *arguments), stdout=subprocess.PIPE, text=True, check=True
    ).stdout


@contextmanager
def limited(rpm: float = 0, tpm: float = 0) -> Generator[str, None, None]:
    """Run `llama-dashscope serve` with an account's limits; yields its address."""
    limits = [*(("--rpm", str(rpm)) if rpm else ()), *(("--tpm", str(tpm)) if tpm else ())]
    serve = [sys.executable, "-m", "llama_dashscope", "serve", "--port", "0", *limits]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as said,
        subprocess.Popen(serve, stdout=said) as process,
    ):
        try:
            while "DASHSCOPE_HTTP_BASE_URL=" not in (text := _read(said)):
                time.sleep(0.05)
            yield text.partition("DASHSCOPE_HTTP_BASE_URL=")[2].split()[0]
        finally:
            process.terminate()


def _read(file: TextIO) -> str:
    file.seek(0)
    return file.read(1000)


# the measures


def kills(count: int = 20_000, times: int = 20) -> None:
    """Kill a batch at random moments, then let it finish."""
    asked: Counter[str] = Counter()

    def answer(request: ReceivedRequest) -> str:
        asked[request.json["input"]["prompt"]] += 1
        return "ok"

    rng = random.Random()
    with LocalDashScope(keep=10) as server, tempfile.TemporaryDirectory() as folder:
        server.reply(answer)
        server.random_faults(0.02, [Unavailable()])
        journal = Path(folder) / "journal.jsonl"
        part = command("journal", server.base_url, journal, count)
        for _ in range(times):
            before = sum(asked.values())
            with subprocess.Popen(part) as process:
                while sum(asked.values()) == before and process.poll() is None:
                    time.sleep(0.01)
                time.sleep(rng.uniform(0, 0.5))
                process.kill()
        killed = len(list(read_journal(journal)))
        subprocess.run(part, check=True)
        found = Counter(result.custom_id for result in read_journal(journal) if result.response)
    lost = count - len(found)
    twice = sum(found.values()) - len(found)
    again = sum(asked.values()) - len(asked)
    print(
        f"{times} kills, the last one at {killed} of {count}: {lost} lost, {twice} twice,", end=""
    )
    print(f" {again} asked twice (bound {times * 100})")


def memory() -> None:
    """Compare a short and a long batch."""
    with canned_server.running() as server:
        few, many = (
            int(output("memory", f"{server}/burst/api/v1", count)) for count in (5_000, 200_000)
        )
    print(
        f"peak memory: {few / 1024:.1f} MiB at 5,000 items, {many / 1024:.1f} at 200,000:", end=""
    )
    print(f" {(many - few) / 1024:+.1f} MiB")


def cpu(count: int = 10_000) -> None:
    """Compare items of a batch with bare calls; each figure is the least of three."""
    with canned_server.running() as server, tempfile.TemporaryDirectory() as folder:
        address = f"{server}/burst/api/v1"
        figures = [
            (
                float(output("calls", address, count)),
                float(output("batch", address, count, "")),
                float(output("batch", address, count, f"{folder}/{turn}.jsonl")),
            )
            for turn in range(3)
        ]
    bare, plain, kept = (min(column) for column in zip(*figures, strict=True))
    print(f"CPU: a bare call {bare:.0f} us, an item {plain:.0f} ({plain - bare:+.0f}),", end="")
    print(f" with a journal {kept:.0f} ({kept - bare:+.0f})")


def index() -> None:
    """Fill an index."""
    print(f"a million ids: {int(output('index')) / 1e6:.1f} MB")


def known() -> None:
    """Measure a pace that is given the account's limit."""
    _paced("known limit", 6_000, rpm=LIMIT * 60, pace_rpm=LIMIT * 60)


def unknown() -> None:
    """A limit that it finds."""
    _paced("unknown limit", 12_000, rpm=LIMIT * 60, skip=40)


def tokens() -> None:
    """Measure a limit of tokens: an answer costs 40, and the estimate is seven times that."""
    _paced("tokens", 6_000, tpm=LIMIT * 60 * 40, pace_tpm=LIMIT * 60 * 40)


def _paced(
    name: str,
    count: int,
    *,
    rpm: float = 0,
    tpm: float = 0,
    pace_rpm: float = 0,
    pace_tpm: float = 0,
    skip: int = 2,
) -> None:
    with limited(rpm, tpm) as address:
        rates, refusals, answered, seconds = json.loads(
            output("paced", address, count, pace_rpm, pace_tpm)
        )
    steady = rates[skip:-1]
    share = sum(steady) / len(steady) / LIMIT
    print(f"{name}: {share:.1%} of {LIMIT} a second from second {skip} on;", end="")
    refused = refusals / (answered + refusals)
    print(f" {refusals} refusals ({refused:.2%}), {count - answered} lost, {seconds:.0f} s")


MEASURES: dict[str, Callable[[], None]] = {
    each.__name__: each for each in (kills, memory, cpu, index, known, unknown, tokens)
}


def main() -> None:
    """Run the measures named on the command line, or all."""
    allow_many_files()
    if sys.argv[1:2] == ["run"]:
        PARTS[sys.argv[2]](*sys.argv[3:])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measures", nargs="*", choices=[*MEASURES, []], metavar="MEASURE")
    for name in parser.parse_args().measures or MEASURES:
        MEASURES[name]()


if __name__ == "__main__":
    main()
