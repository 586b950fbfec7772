"""Thirty situations, in each of which a framework's user has one thing to expect.

    pip install langchain langchain-community llama-index-llms-dashscope
    python -m tests.comparison.run [of_langchain | of_llamaindex]

`ChatLlamaDashScope` beside ChatTongyi, `LlamaDashScope` beside LlamaIndex's DashScope, on a
DashScope on this machine. Each situation ends right, wrong (something else came out), or fails (an
error where an answer was due, or nothing within half a minute).
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from llama_dashscope.testing import LocalDashScope

Make = Callable[..., Any]
"""Makes a model; its keyword arguments are `temperature`, `timeout` and `retry`, if any."""
Situation = Callable[[Make, LocalDashScope], Awaitable[bool]]

SIDES = ("of_langchain", "of_llamaindex")
LIMIT = 30.0


async def meet(situation: Situation, subject: Callable[..., Any]) -> tuple[str, str]:
    """Return how a situation ends, and why."""
    with LocalDashScope() as server:
        try:
            right = await asyncio.wait_for(situation(partial(subject, server), server), LIMIT)
        except asyncio.TimeoutError:
            return "fails", "no answer"
        except Exception as error:
            return "fails", f"{type(error).__name__}: {error}".splitlines()[0][:90]
        return ("right" if right else "wrong"), ""


async def compare(side: str) -> None:
    """Put every subject of one framework into every situation and print a table."""
    module = importlib.import_module(f"tests.comparison.{side}")
    subjects: dict[str, Callable[..., Any]] = module.SUBJECTS
    situations: list[Situation] = module.SITUATIONS
    totals = {name: Counter[str]() for name in subjects}
    print(f"\n{'':46}" + "".join(f"{name:22}" for name in subjects))
    for situation in situations:
        words = (situation.__doc__ or "").rstrip(".")
        ends = {name: await meet(situation, subject) for name, subject in subjects.items()}
        for name, (end, _) in ends.items():
            totals[name][end] += 1
        reasons = " | ".join(why for _, why in ends.values() if why)
        print(f"{words:46}" + "".join(f"{end:22}" for end, _ in ends.values()) + reasons)
    for name, ended in totals.items():
        print(f"{name}: " + ", ".join(f"{ended[end]} {end}" for end in ("right", "wrong", "fails")))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable()
    for each in sys.argv[1:] or SIDES:
        asyncio.run(compare(each))
    sys.stdout.flush()
    os._exit(0)  # threads of calls that never ended would hold the program
