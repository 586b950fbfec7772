"""Celery: each worker process has one client, and all share one pace.

Start workers with `celery -A celery_tasks worker`, then run this file, which asks the questions.
"""

import os
from functools import cache

from celery import Celery
from redis import Redis

from llama_dashscope import Client
from llama_dashscope.redis import RedisPace

REDIS = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = Celery("celery_tasks", broker=REDIS, backend=REDIS)
app.conf.worker_prefetch_multiplier = 1  # tasks wait for their turn: don't reserve more of them


@cache
def client() -> Client:
    """Create the process's client when it is first used, after Celery's fork."""
    redis = Redis.from_url(REDIS, socket_timeout=5)
    return Client(pace=RedisPace(redis, requests_per_minute=12_000))


@app.task(acks_late=True)  # a question whose worker dies is asked again
def ask(question: str) -> str:
    """Ask one question; the client retries temporary failures."""
    return client().call("llama3.3-70b-instruct", question).text


if __name__ == "__main__":
    asked = [ask.delay(f"{number} 的平方是多少？") for number in range(20)]
    for each in asked:
        print(each.get(timeout=60))
