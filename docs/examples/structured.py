"""Ask for a trip and get a validated instance of a class."""

import asyncio
from typing import Annotated, Literal

from attrs import frozen

from llama_dashscope import Client, Message


@frozen
class Stop:
    """A city, and how long to stay there."""

    city: str
    nights: Annotated[int, "1 to 5"]


@frozen
class Trip:
    """A journey by train."""

    title: str
    stops: list[Stop]
    pace: Literal["slow", "fast"] = "slow"


async def main() -> None:
    """Print the plan and the tokens it used."""
    async with Client() as client:
        trip = await client.aparse(
            "llama3.3-70b-instruct", Trip, messages=[Message("user", "五天，去意大利看海。")]
        )
    for stop in trip.value.stops:
        print(f"{stop.city}: {stop.nights}")
    print(trip.usage, "in", trip.attempts, "attempts")


asyncio.run(main())
