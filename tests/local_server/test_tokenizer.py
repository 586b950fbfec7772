"""Text is cut into pieces as a model's tokens fall."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_dashscope.testing._service import tokenizer


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("Hello! I am", ["Hello", "!", " I", " am"]),
        ("介绍一下自己", ["介绍", "一下", "自己"]),
        ("你好,world", ["你好", ",", "world"]),
        ("supercalifragilistic", ["supercalifra", "gilistic"]),
        ("a\n\n* b  ", ["a", "\n\n*", " b", "  "]),
        ("🙂", ["🙂"]),
    ],
)
def test_cut(text: str, pieces: list[str]) -> None:
    """A word with the space before it, a sign, one or two Chinese characters."""
    assert tokenizer.cut(text) == pieces


@given(st.text())
def test_pieces_join_up(text: str) -> None:
    """Nothing is lost and no piece is empty."""
    pieces = tokenizer.cut(text)

    assert "".join(pieces) == text
    assert "" not in pieces


def test_count_input() -> None:
    """Messages count for their content and the template around each; a prompt for itself."""
    messages: list[dict[str, str | None]] = [
        {"role": "user", "content": "a b"},
        {"role": "assistant", "content": None},
    ]

    assert tokenizer.count_input(None, messages) == 2 + 4 + 4
    assert tokenizer.count_input("a b", []) == 2
