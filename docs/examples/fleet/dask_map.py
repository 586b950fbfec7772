"""Dask: worker processes answer lists of questions and share one pace."""

import os
from functools import cache

from dask.distributed import Client as Dask
from dask.distributed import LocalCluster
from redis import Redis

from llama_dashscope import Client
from llama_dashscope.redis import RedisPace

REDIS = os.environ.get("REDIS_URL", "redis://localhost:6379")


@cache
def client() -> Client:
    """Create the worker's client when it is first used."""
    redis = Redis.from_url(REDIS, socket_timeout=5)
    return Client(pace=RedisPace(redis, requests_per_minute=12_000))


def ask(questions: list[str]) -> list[str]:
    """Ask a list of questions concurrently; a failed one gives the text of its error."""
    with client().batch(questions, model="llama3.3-70b-instruct", ordered=True) as batch:
        return [result.text if result.response else str(result.error) for result in batch]


if __name__ == "__main__":
    numbers = range(200)
    lists = [[f"{n} 的平方是多少？" for n in numbers[at : at + 50]] for at in numbers[::50]]
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Dask(cluster) as dask:
        answers = dask.gather(dask.map(ask, lists))
    print(sum(map(len, answers)), "answers, the first:", answers[0][0])
