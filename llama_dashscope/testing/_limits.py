"""Which models the server knows, and how much they take."""

from attrs import frozen


@frozen
class Limits:
    """What one model takes, in tokens."""

    context: int
    max_input: int
    messages_only: bool = False
    """It refuses `input.prompt`."""


_LARGE = Limits(32_000, 30_000)
_LLAMA_3 = Limits(8_000, 8_000, messages_only=True)
_LLAMA_2 = Limits(4_000, 4_000)

UNKNOWN = _LARGE
"""What is assumed of a model outside the catalogue that the server was told to answer for."""

LIMITS = {
    "llama3.3-70b-instruct": _LARGE,
    "llama3.2-3b-instruct": _LARGE,
    "llama3.2-1b-instruct": _LARGE,
    "llama3.1-405b-instruct": _LARGE,
    "llama3.1-70b-instruct": _LARGE,
    "llama3.1-8b-instruct": _LARGE,
    "llama3-70b-instruct": _LLAMA_3,
    "llama3-8b-instruct": _LLAMA_3,
    "llama2-13b-chat-v2": _LLAMA_2,
    "llama2-7b-chat-v2": _LLAMA_2,
}
