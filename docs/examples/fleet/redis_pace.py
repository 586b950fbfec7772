"""Share an account's limits through Redis: start as many of this program as you like."""

import asyncio
import os

from redis.asyncio import Redis

from llama_dashscope import Client
from llama_dashscope.redis import RedisPace

REDIS = os.environ.get("REDIS_URL", "redis://localhost:6379")


async def main() -> None:
    """Ask a few questions concurrently, at the pace that all these programs share."""
    async with Redis.from_url(REDIS) as redis:
        pace = RedisPace(redis, requests_per_minute=12_000, tokens_per_minute=4_000_000)
        async with Client(pace=pace) as client:
            questions = (f"{number} 的平方是多少？" for number in range(20))
            async with client.abatch(questions, model="llama3.3-70b-instruct") as batch:
                async for result in batch:
                    print(result.position, result.text)


if __name__ == "__main__":
    asyncio.run(main())
