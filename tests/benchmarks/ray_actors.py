"""How many rows a second Ray actors answer: `python -m tests.benchmarks.ray_actors`.

One actor, then two, each with half a CPU, ask 2,000 questions in blocks of 50 of a server whose
answers take a second, then of one that answers at once. The rate is from the first request to the
last, by the server's count, so that Ray's start does not count. Needs the extras ray and aiohttp.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

import ray
from ray.data import ActorPoolStrategy

from llama_dashscope import Client, Pace
from llama_dashscope.ray import AskRows

from .account_server import counts
from .server import running

ROWS, BLOCK = 2_000, 50
ACTORS = 1, 2
SECONDS = 1.0, 0.0
"""How long an answer takes."""


def make_client(address: str) -> Client:
    """Make an actor's client, which nothing holds up."""
    pace = Pace(requests_per_minute=1e6)
    return Client("sk-benchmark", base_url=address, transport="aiohttp", pace=pace)


def ask(server: str, actors: int) -> None:
    """Ask all questions, with so many actors."""
    client = partial(make_client, f"{server}/api/v1")
    (
        ray.data.from_items([{"prompt": f"{n} 的平方是多少？"} for n in range(ROWS)])
        .repartition(ROWS // BLOCK)
        .map_batches(
            AskRows,
            fn_constructor_kwargs={"client": client, "model": "llama3.3-70b-instruct"},
            batch_size=BLOCK,
            compute=ActorPoolStrategy(size=actors),
            num_cpus=0.5,
        )
        .materialize()
    )


def rate(seconds: float, actors: int) -> float:
    """Return how many questions a second arrived, from the first to the last."""
    first = last = 0.0
    with running("account_server", 0, 0, seconds, "") as server:
        asking = Thread(target=ask, args=(server, actors))
        asking.start()
        known = 0
        while asking.is_alive():
            sleep(0.02)
            asked, _ = counts(server)
            if asked > known:
                known, last = asked, monotonic()
                first = first or last
        assert known == ROWS
    return ROWS / (last - first + seconds)


def main() -> None:
    """Print a line for each rate."""
    # Ray's workers import this module's functions, which are not installed.
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    for seconds in SECONDS:
        for actors in ACTORS:
            print(
                f"{actors} actors, answers take {seconds} s: {rate(seconds, actors):.0f} a second",
                flush=True,
            )


if __name__ == "__main__":
    main()
