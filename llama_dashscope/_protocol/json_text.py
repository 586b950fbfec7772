"""JSON in the text of an answer: found in code fences or prose, repaired if it is unambiguous.

Repaired, since only one meaning is possible: a comma before a closing bracket, comments, strings in
single or curly quotes, keys without quotes, line breaks in strings, Chinese colons and commas,
Python's True, False and None. Refused, since the meaning would be a guess: incomplete JSON, text
after the JSON that may be part of it, NaN and infinity, a key that appears twice, several values.
"""

import json
import math
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, NoReturn

from .surrogates import has_surrogates
from .type_forms import JSON

__all__ = ["json_values", "pick_json", "several"]

DEEPEST: Final = 64
"""Deepest nesting of brackets that is read."""

NEAR: Final = 20
"""How much text is shown on each side of a mistake, in characters."""

TOKEN: Final = re.compile(
    r"""(?P<space>\s+|//[^\n]*|\#[^\n]*|/\*[\s\S]*?\*/)
    |(?P<double>"[^"\\]*(?:\\[\s\S][^"\\]*)*")
    |(?P<single>'[^'\\]*(?:\\[\s\S][^'\\]*)*')
    |(?P<curly>“[^“”\\]*(?:\\[\s\S][^“”\\]*)*”)
    |(?P<open>[{\[])
    |(?P<close>[}\]])
    |(?P<mark>[:,：，])
    |(?P<word>[^\s{}\[\]:,：，"'“/\#]+)""",
    re.VERBOSE,
)

START: Final = r"""(?:
    \{(?=\s*(?:["'“}/\#]|[^\W\d]\w*\s*[:：]))
    |\[(?=\s*(?:["'“\]\[{/\#]|-?\d[\d.eE+-]*\s*[,\]]|(?:true|false|null|True|False|None)\b))
    )"""
"""The beginning of a JSON object or array, as opposed to a bracket in prose."""

THOUGHTS: Final = re.compile(r"<think>[\s\S]*?</think>")

IN_PROSE: Final = re.compile(rf"(?={START})", re.VERBOSE)
IN_FENCE: Final = re.compile(rf"(?:```|~~~)[ \t]*\w*\s*(?={START})", re.VERBOSE)
FENCED: Final = re.compile(r"\s*(?:```|~~~)[ \t]*\w*[ \t]*\n([\s\S]*?)(?:(?:```|~~~)\s*)?")

CUT_BEFORE: Final = re.compile(r"""["'”]\s*[:：]\s*$""")
"""Text before a value; with it, the value is only a part of broken JSON."""

CUT_AFTER: Final = re.compile(r"""\s*(?:[\]}:：]|[,，]?\s*["“])""")
"""Text after a value; with it, the value is only a part of broken JSON."""

NEXT: Final = re.compile(rf"\s*[,，]?\s*(?={START})", re.VERBOSE)

WORDS: Final = {"True": "true", "False": "false", "None": "null"}
MARKS: Final = {"：": ":", "，": ","}


def pick_json(text: str, kinds: tuple[type, ...] = (dict, list)) -> JSON:
    """Return the one JSON value of a text; see `json_values`.

    Raises:
        ValueError: there is no JSON, it is broken, or there are two values that differ.
    """
    value, *others = json_values(text, kinds)
    if others:
        raise several(len(others) + 1)
    return value


def json_values(text: str, kinds: tuple[type, ...] = (dict, list)) -> list[JSON]:
    """Return the distinct JSON values in a text; there is at least one.

    If the text as a whole is JSON, or one code fence with JSON, that is the value. Otherwise the
    objects and arrays in code fences are returned, or, if there are none, those in the prose.
    A `<think>` block at the beginning is skipped.

    Args:
        text: the text of a model's answer.
        kinds: `dict` for objects, `list` for arrays; values of other kinds are returned only if
            there are none of these.

    Raises:
        ValueError: there is no JSON, or it is broken.
    """
    text = text.strip("\ufeff \t\r\n")
    if thoughts := THOUGHTS.match(text):
        text = text[thoughts.end() :].strip()
    fenced = FENCED.fullmatch(text)
    for whole in (text, fenced[1]) if fenced else (text,):
        with suppress(ValueError):
            return [_whole(whole)]
    found = list(_values(text, IN_FENCE)) or list(_values(text, IN_PROSE))
    wanted = [value for value in found if isinstance(value, kinds)] or found
    if not wanted:
        raise ValueError("expected JSON, found none in the text" if text else "the text is empty")
    return list({json.dumps(value, sort_keys=True): value for value in wanted}.values())


def several(number: int) -> ValueError:
    """Return the error for more than one value."""
    return ValueError(f"expected one JSON value, got {number} that differ")


def _whole(text: str) -> JSON:
    """Read a text that is one value; trying valid JSON first takes a fifth of the time."""
    with suppress(ValueError, RecursionError):
        value = _loads(text)
        if _is_shallow(value):
            return value
    value, end = _read(text, 0)
    if text[end:].strip():
        raise ValueError("there is more than one value")
    return value


def _is_shallow(value: JSON) -> bool:
    """Tell whether no value is nested deeper than `DEEPEST`."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return not level


def _values(text: str, start: re.Pattern[str]) -> Iterator[Any]:
    """Read each value that begins where a pattern matches."""
    at = 0
    while found := start.search(text, at):
        at = found.end()
        while True:
            begin = at
            value, at = _read(text, begin)
            cut = CUT_BEFORE.search(text, max(0, begin - NEAR), begin)
            if cut or CUT_AFTER.match(text, at):
                raise ValueError(f"expected one JSON value, got more {_near(text, at)}")
            yield value
            if not (following := NEXT.match(text, at)):
                break
            at = following.end()


def _read(text: str, at: int) -> tuple[Any, int]:
    """Read the value that begins at a position; return the value and the position of its end."""
    tokens: list[str] = []
    depth = 0
    while found := TOKEN.match(text, at):
        at = found.end()
        kind = found.lastgroup
        depth += (kind == "open") - (kind == "close")
        if depth > DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST} levels")
        _add(tokens, kind, found[0])
        if depth <= 0 and kind != "space":
            return _loads(" ".join(tokens)), at
    raise ValueError(
        f"the JSON {f'is broken {_near(text, at)}' if at < len(text) else 'is incomplete'}"
    )


def _add(tokens: list[str], kind: str | None, part: str) -> None:
    """Add a token, rewritten as valid JSON."""
    if kind == "space":
        return
    if kind == "double":
        part = re.sub(r"\\([\s\S])", lambda found: "'" if found[1] == "'" else found[0], part)
    elif kind in {"single", "curly"}:
        part = f'"{re.sub(_QUOTES, _requote, part[1:-1])}"'
    elif kind == "mark":
        part = MARKS.get(part, part)
        last = tokens[-1] if tokens else ""
        if part == ":" and last.isidentifier() and last not in WORDS.values():
            tokens[-1] = json.dumps(last)
    elif kind == "close" and tokens[-1:] == [","] and tokens[-2] not in {"{", "[", ","}:
        tokens.pop()
    tokens.append(WORDS.get(part, part))


_QUOTES: Final = re.compile(r"""\\(?P<escaped>[\s\S])|(?P<bare>")""")


def _requote(found: re.Match[str]) -> str:
    """Rewrite an escape or a double quote for a string in double quotes."""
    return "'" if found["escaped"] == "'" else '\\"' if found["bare"] else found[0]


def _loads(text: str) -> JSON:
    """Read JSON; allow line breaks in strings, refuse NaN and duplicate keys."""
    try:
        value = json.loads(
            text,
            strict=False,
            parse_constant=_no_number,
            parse_float=_finite,
            object_pairs_hook=_unique,
        )
    except json.JSONDecodeError as error:
        reason = f"{error.msg[:1].lower()}{error.msg[1:]}"
        raise ValueError(f"the JSON is broken: {reason} {_near(text, error.pos)}") from None
    if "\\u" in text and has_surrogates(json.dumps(value, ensure_ascii=False)):
        raise ValueError("a string has a lone surrogate, half of a character")
    return value


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text[:NEAR])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"the key {twice[:NEAR]!r} appears twice")
    return found


def _near(text: str, at: int) -> str:
    return f"near {text[max(0, at - NEAR) : at + NEAR]!r}"
