"""The names from OpenTelemetry's GenAI conventions that are used here.

They are copied, because the constants in opentelemetry-semantic-conventions are deprecated since
the conventions moved (https://github.com/open-telemetry/semantic-conventions-genai). A test
compares them with that package.
"""

from typing import Final

__all__ = [
    "ATTRIBUTES",
    "DETAILS",
    "DURATION",
    "REQUEST",
    "TIME_PER_OUTPUT_CHUNK",
    "TIME_TO_FIRST_CHUNK",
    "TOKEN_USAGE",
]

ATTRIBUTES: Final = (
    "error.type",
    "gen_ai.input.messages",
    "gen_ai.operation.name",
    "gen_ai.output.messages",
    "gen_ai.provider.name",
    "gen_ai.request.choice.count",
    "gen_ai.request.max_tokens",
    "gen_ai.request.model",
    "gen_ai.request.presence_penalty",
    "gen_ai.request.seed",
    "gen_ai.request.stop_sequences",
    "gen_ai.request.stream",
    "gen_ai.request.temperature",
    "gen_ai.request.top_k",
    "gen_ai.request.top_p",
    "gen_ai.response.finish_reasons",
    "gen_ai.response.id",
    "gen_ai.response.time_to_first_chunk",
    "gen_ai.token.type",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "http.request.resend_count",
    "http.response.status_code",
    "server.address",
    "server.port",
)
"""All attributes from the conventions that spans, events and metrics use."""

REQUEST: Final = {
    "max_tokens": "gen_ai.request.max_tokens",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "temperature": "gen_ai.request.temperature",
    "top_k": "gen_ai.request.top_k",
    "top_p": "gen_ai.request.top_p",
}
"""Numeric parameters of a call, and their names in the conventions."""

DURATION: Final = "gen_ai.client.operation.duration"
TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105  # no password
TIME_TO_FIRST_CHUNK: Final = "gen_ai.client.operation.time_to_first_chunk"
TIME_PER_OUTPUT_CHUNK: Final = "gen_ai.client.operation.time_per_output_chunk"
DETAILS: Final = "gen_ai.client.inference.operation.details"
"""The event with the messages of a call."""
