"""The bars: upper bounds for this client's cost, as a share of a peer's."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

Figures = dict[str, dict[str, list[float]]]
"""The figures by operation and client, one per round."""


@dataclass(frozen=True)
class Bar:
    """One ratio and its bound.

    Args:
        label: what is compared with what.
        cost: operation and client of the numerator.
        peer: operation and client of the denominator.
        bound: the highest ratio that passes.
    """

    label: str
    cost: tuple[str, str]
    peer: tuple[str, str]
    bound: float

    def ratio(self, figures: Figures) -> float | None:
        """Return the median of the rounds' ratios, if both sides were measured.

        The figures of a round are measured one right after the other, so that lasting noise affects
        both.
        """
        costs, peers = (
            figures.get(operation, {}).get(client, [])
            for operation, client in (self.cost, self.peer)
        )
        ratios = [cost / peer for cost, peer in zip(costs, peers, strict=False)]
        return median(ratios) if ratios else None


def bar(operation: str, client: str, peer: str, bound: float) -> Bar:
    """Return a bar that compares two clients at one operation."""
    return Bar(f"{client} vs {peer}: {operation}", (operation, client), (operation, peer), bound)


BARS = [
    bar("call_1", "aiohttp", "dashscope1", 0.65),
    bar("call_50", "aiohttp", "dashscope1", 0.75),
    bar("call_500", "aiohttp", "dashscope1", 0.75),
    bar("call_50", "aiohttp", "openai", 0.20),
    bar("call_50", "httpx", "dashscope2", 0.40),
    bar("call_500", "httpx", "openai", 0.30),
    Bar("httpx: 500 at once vs one", ("call_500", "httpx"), ("call_1", "httpx"), 1.4),
    bar("alone", "aiohttp", "floor", 1.7),
    bar("alone", "aiohttp", "dashscope1", 0.70),
    bar("alone", "httpx", "dashscope2", 0.85),
    bar("burst", "aiohttp", "dashscope1", 0.60),
    bar("sync_call", "httpx", "dashscope1", 1.0),
    bar("sync_call", "aiohttp", "dashscope1", 1.0),
    bar("sync_burst", "aiohttp", "dashscope1", 0.60),
    bar("memory", "httpx", "openai", 0.50),
    bar("memory", "aiohttp", "openai", 0.50),
]
