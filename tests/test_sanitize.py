"""Text from outside: without secrets, in one line, bounded."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from llama_dashscope._sanitize import bounded_repr, redact, sanitize

KEY = "sk-0123456789abcdef"


def test_a_key_is_taken_out_of_others_words() -> None:
    """Whatever echoes the key is shown without it."""
    assert redact("bad key sk-secret: sk-secret!", ("sk-secret",)) == "bad key ***: ***!"
    assert redact("nothing here", ("sk-secret",)) == "nothing here"


def test_the_beginning_of_a_key_counts() -> None:
    """A quotation may break off in the middle; a few letters tell nothing."""
    assert redact("b'Bearer sk-0123456'...", (KEY,)) == "b'Bearer ***'..."
    assert redact("sk-01234 sk-0123", (KEY,)) == "*** sk-0123"


def test_other_parts_of_a_key_count() -> None:
    """A quotation may begin in the middle of a key, or be broken within it."""
    key = "sk-0123456789-abcdef"

    assert redact("...456789-abcdef'", (key,)) == "...***'"
    assert redact("...56789-abcde'", (key,)) == "...56789-abcde'"
    assert redact("sk-01234\n6789-abcdef", (key,)) == "***\n6789-abcdef"
    assert redact("sk-012345\n3456789-abcdef", (key,)) == "***\n***"
    assert redact(f"{key}{key} {key}", (key,)) == "****** ***"


@given(st.text("ab-", max_size=20), st.text("ab-", max_size=20), st.data())
def test_a_part_is_found_wherever_it_stands(before: str, after: str, data: st.DataObject) -> None:
    """Wherever a long part of a key begins, in the key and in the text."""
    key = data.draw(st.text("0123456789", min_size=12, max_size=40))
    begin = data.draw(st.integers(0, len(key) - 12))
    end = data.draw(st.integers(begin + 12, len(key)))

    assert redact(before + key[begin:end] + after, (key,)) == f"{before}***{after}"
    assert redact(before + key[:8] + after, (key,)) == f"{before}***{after}"


def test_a_secret_of_two_spellings() -> None:
    """The longer match counts, whichever spelling comes first."""
    spellings = ("secret-pass-密", "secret-pass-å¯\x86")

    for order in (spellings, spellings[::-1]):
        assert [redact(f"a {each} b", order) for each in spellings] == ["a *** b"] * 2


def test_short_and_empty_secrets() -> None:
    """A short secret is taken out whole, an empty one is none."""
    assert redact("user pw: pw", ("pw", "")) == "user ***: ***"
    assert redact("*** and ***", ("***",)) == "*** and ***"


def test_one_line() -> None:
    """Line breaks of every kind become blanks."""
    assert sanitize(" a\r\nb\x0bc\u2028d\x85e\te ") == "a b c d e e"


def test_control_characters_are_escaped() -> None:
    """What moves a cursor, turns text around or is half a character is shown as its escape."""
    assert sanitize("\x1b[31m\x00\x9b\u202e\ud800\x7f") == r"\x1b[31m\x00\x9b\u202e\ud800\x7f"
    assert sanitize("错误：太长 é \U0001f600") == "错误：太长 é \U0001f600"


def test_long_texts_are_cut() -> None:
    """A text has a largest length, and says that there was more."""
    assert sanitize("x" * 10, limit=10) == "x" * 10
    assert sanitize("x" * 11, limit=10) == "x" * 10 + "..."
    assert sanitize("x" * 900_000) == "x" * 2000 + "..."
    assert sanitize("\x1b" * 900_000, limit=8) == r"\x1b\x1b..."


@given(st.text(), st.text(), st.integers(1, 60))
def test_whatever_comes(before: str, after: str, limit: int) -> None:
    """The result is printable, in one line, bounded, and without the key."""
    shown = sanitize(before + KEY + after, (KEY,), limit)

    assert shown.isprintable()
    assert len(shown) <= limit + 3
    assert KEY[:8] not in shown


class Odd:
    """An argument that can't be shown."""

    def __repr__(self) -> str:
        raise LookupError


class Lines:
    """An argument that would be shown in two lines."""

    def __repr__(self) -> str:
        return "a\nb"


def test_an_argument_is_shown_in_a_few_words() -> None:
    """Long, many-lined and failing reprs are not: an error must not fail, or fill a terminal."""
    assert bounded_repr("a") == "'a'"
    assert bounded_repr("a" * 78) == f"'{'a' * 78}'"
    assert bounded_repr("a" * 79) == "a value of type str"
    assert bounded_repr(10**5000) == "a value of type int"
    assert bounded_repr(Odd()) == "a value of type Odd"
    assert bounded_repr(SimpleNamespace(a=Odd())) == "a value of type SimpleNamespace"
    assert bounded_repr(Lines()) == "a value of type Lines"
