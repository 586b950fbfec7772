"""Taskiq: each async worker has one client, and all share one pace.

Start workers with `taskiq worker taskiq_tasks:broker`, then run this file, which asks.
"""

import asyncio
import os
from typing import Annotated

from redis.asyncio import Redis
from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from llama_dashscope import Client
from llama_dashscope.redis import RedisPace

REDIS = os.environ.get("REDIS_URL", "redis://localhost:6379")

broker = RedisStreamBroker(REDIS).with_result_backend(RedisAsyncResultBackend(REDIS))


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def begin(state: TaskiqState) -> None:
    """Create the worker's client."""
    state.redis = Redis.from_url(REDIS)
    state.client = Client(pace=RedisPace(state.redis, requests_per_minute=12_000))


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def end(state: TaskiqState) -> None:
    """Close it."""
    await state.client.aclose()
    await state.redis.aclose()


@broker.task(task_name="ask")
async def ask(question: str, context: Annotated[Context, TaskiqDepends()]) -> str:
    """Ask one question; the client retries temporary failures."""
    client: Client = context.state.client
    return (await client.acall("llama3.3-70b-instruct", question)).text


async def main() -> None:
    """Send questions to the workers and print their answers."""
    await broker.startup()
    asked = [await ask.kiq(f"{number} 的平方是多少？") for number in range(20)]
    for each in asked:
        print((await each.wait_result(timeout=60)).return_value)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
