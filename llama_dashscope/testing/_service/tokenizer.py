"""Splits text into token-like pieces: about a word, or one or two Chinese characters."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

_PIECE = re.compile(
    r"[\u3400-\u9fff]{1,2}"  # one or two Chinese characters
    r"|\s*[^\W\u3400-\u9fff]{1,12}"  # a word or part of one, with the space before
    r"|\s*[^\w\s]"  # a punctuation mark
    r"|\s+"
)
_PER_MESSAGE = 4  # a chat template wraps each message in about this many tokens


def cut(text: str) -> list[str]:
    """Split text into pieces that join to the same text; each counts as one token."""
    return _PIECE.findall(text)


def count(text: str) -> int:
    """Count the pieces of a text; a deterministic stand-in for the model's own tokenizer."""
    return len(cut(text))


def count_input(prompt: str | None, messages: Iterable[Mapping[str, Any]]) -> int:
    """Count a request's input tokens: the prompt, or all messages with their chat template."""
    total = count(prompt or "")
    for message in messages:
        content = message.get("content")
        total += _PER_MESSAGE + count(content if isinstance(content, str) else "")
    return total
