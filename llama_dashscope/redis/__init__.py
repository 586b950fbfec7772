"""`RedisPace`: one rate limiter for programs on many machines.

::

    redis = Redis.from_url("redis://redis.internal")  # of redis.asyncio
    client = Client(pace=RedisPace(redis, requests_per_minute=12_000, tokens_per_minute=4_000_000))
"""

from importlib import import_module

try:
    import_module("redis")
except ImportError as _missing:
    raise ImportError(
        "llama_dashscope.redis needs the redis package: pip install 'llama-dashscope[redis]'"
    ) from _missing

from ._pace import RedisPace

__all__ = ["RedisPace"]
