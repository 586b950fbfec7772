"""Cut text into pieces as a model's tokens fall: about a word, or a Chinese character or two."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

_PIECE = re.compile(
    r"[\u3400-\u9fff]{1,2}"  # one or two Chinese characters
    r"|\s*[^\W\u3400-\u9fff]{1,12}"  # a word or part of one, with the space before
    r"|\s*[^\w\s]"  # a sign
    r"|\s+"
)
_PER_MESSAGE = 4  # a chat template wraps each message in about this many tokens


def cut(text: str) -> list[str]:
    """Cut `text` into pieces that join up to it again; each counts as one token."""
    return _PIECE.findall(text)


def count(text: str) -> int:
    """Count the pieces of `text`: a stand-in for the model's own tokenizer, always the same."""
    return len(cut(text))


def count_input(prompt: str | None, messages: Iterable[Mapping[str, Any]]) -> int:
    """Count what a request sends in: the prompt, or every message and the template around it."""
    total = count(prompt or "")
    for message in messages:
        content = message.get("content")
        total += _PER_MESSAGE + count(content if isinstance(content, str) else "")
    return total
