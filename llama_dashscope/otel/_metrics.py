"""The four client metrics of the GenAI conventions."""

from collections.abc import Mapping
from typing import Final

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, Meter

from llama_dashscope import Usage

from ._names import DURATION, TIME_PER_OUTPUT_CHUNK, TIME_TO_FIRST_CHUNK, TOKEN_USAGE

__all__ = ["ClientMetrics"]

Attributes = Mapping[str, str | int]

SECONDS: Final = [0.01 * 2**power for power in range(14)]
"""Bucket boundaries for durations, from the conventions: 0.01 to 81.92."""

TOKENS: Final = [4.0**power for power in range(14)]
"""Bucket boundaries for tokens, from the conventions: 1 to 67108864."""


class ClientMetrics:
    """Records the metrics of calls.

    Each method takes the attributes of a call, and the context of its span, to which exemplars
    refer.
    """

    def __init__(self, meter: Meter) -> None:
        """Make the histograms."""

        def histogram(name: str, unit: str, description: str, bounds: list[float]) -> Histogram:
            return meter.create_histogram(
                name, unit, description, explicit_bucket_boundaries_advisory=bounds
            )

        self._duration = histogram(DURATION, "s", "GenAI operation duration.", SECONDS)
        self._tokens = histogram(
            TOKEN_USAGE, "{token}", "Number of input and output tokens used.", TOKENS
        )
        self._first_chunk = histogram(
            TIME_TO_FIRST_CHUNK, "s", "Time to receive the first chunk.", SECONDS
        )
        self._per_chunk = histogram(
            TIME_PER_OUTPUT_CHUNK, "s", "Time per output chunk, the mean of a stream.", SECONDS
        )

    def record_duration(self, seconds: float, attributes: Attributes, context: Context) -> None:
        """Record how long a call took."""
        self._duration.record(seconds, attributes, context)

    def record_usage(self, usage: Usage, attributes: Attributes, context: Context) -> None:
        """Record the tokens of a call."""
        sent = {**attributes, "gen_ai.token.type": "input"}
        self._tokens.record(usage.input_tokens, sent, context)
        received = {**attributes, "gen_ai.token.type": "output"}
        self._tokens.record(usage.output_tokens, received, context)

    def record_first_chunk(self, seconds: float, attributes: Attributes, context: Context) -> None:
        """Record the time to the first chunk of a stream."""
        self._first_chunk.record(seconds, attributes, context)

    def record_chunks(self, seconds: float, attributes: Attributes, context: Context) -> None:
        """Record the mean time between the chunks of a stream.

        The conventions record every chunk; that would cost more than reading the chunk.
        """
        self._per_chunk.record(seconds, attributes, context)
