"""Celery: each worker process has one client, and all share one pace.

Start workers by `celery -A celery_tasks worker`, then run this file, which asks.
"""

import os
from functools import cache

from celery import Celery
from redis import Redis

from llama_dashscope import Client
from llama_dashscope.redis import RedisPace

REDIS = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = Celery("celery_tasks", broker=REDIS, backend=REDIS)
app.conf.worker_prefetch_multiplier = 1  # a task waits for its turn: none lies behind it


@cache
def client() -> Client:
    """Make the process's client, at its first question: after Celery's fork."""
    redis = Redis.from_url(REDIS, socket_timeout=5)
    return Client(pace=RedisPace(redis, requests_per_minute=12_000))


@app.task(acks_late=True)  # a question whose worker dies is asked again
def ask(question: str) -> str:
    """Ask one question; the client tries again what may pass."""
    return client().call("llama3.3-70b-instruct", question).text


if __name__ == "__main__":
    asked = [ask.delay(f"{number} 的平方是多少？") for number in range(20)]
    for each in asked:
        print(each.get(timeout=60))
