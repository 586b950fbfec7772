"""JSON in the text of an answer: what is picked out, what is repaired, what is refused."""

from __future__ import annotations

import json
import math
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_dashscope._protocol.json_text import json_values, pick_json

GOOD = '{"city": "罗马", "days": 3}'
TRIP = {"city": "罗马", "days": 3}

READ = {
    "bare": GOOD,
    "fence": f"```json\n{GOOD}\n```",
    "fence without a language": f"```\n{GOOD}\n```",
    "fence of another kind": f"~~~json\n{GOOD}\n~~~",
    "fence in one line": f"```json {GOOD}```",
    "fence without end": f"```json\n{GOOD}",
    "fence in prose": f"Sure, here it is:\n```json\n{GOOD}\n```\nHave fun!",
    "fence beside braces in prose": f'Not {{"city": 1}} but\n```json\n{GOOD}\n```',
    "prose around": f"Here is the trip: {GOOD}. Have fun!",
    "braces in prose": f"Use {{curly}} and [square] brackets: {GOOD}",
    "thoughts before": f'<think>{{"city": "Rom"}}?\n</think>\n\n{GOOD}',
    "a footnote before": f"As said in [1], {GOOD}",
    "the same twice": f"{GOOD}\n\nOr, in a fence of its own: {GOOD}",
    "byte order mark": f"\ufeff{GOOD}",
    "trailing comma": '{"city": "罗马", "days": 3,}',
    "comments": '{"city": "罗马", // where\n "days": /* how long */ 3} # done',
    "comment first": f"// the trip\n{GOOD}",
    "comment with braces first": f'// such as {{"city": "Rom"}}\n{GOOD}',
    "single quotes": "{'city': '罗马', 'days': 3}",
    "curly quotes": "{“city”: “罗马”, “days”: 3}",
    "Chinese punctuation": '{"city"："罗马"，"days"：3}',
    "keys without quotes": '{city: "罗马", days: 3}',
}

BROKEN = {
    "no JSON": ("I can't help with that.", "expected JSON, found none in the text"),
    "nothing": ("", "the text is empty"),
    "no end": ('{"city": "罗马", "days"', "the JSON is incomplete"),
    "string without end": ('{"city": "罗', 'the JSON is broken near \'{"city": "罗\''),
    "closed too early": (
        '{"trip": {"city": "a"}}, "days": 3}',
        'expected one JSON value, got more near \'rip": {"city": "a"}}, "days": 3}\'',
    ),
    "closed once too often": (
        '{"city": "a"}}',
        'expected one JSON value, got more near \'{"city": "a"}}\'',
    ),
    "begun too late": (
        '"trip": {"city": "a"}',
        'expected one JSON value, got more near \'trip": {"city": "a"}\'',
    ),
    "two in a row": ('{"city": "a"}\n{"city": "b"}', "expected one JSON value, got 2 that differ"),
    "two in one fence": (
        '```json\n{"city": "a"}\n{"city": "b"}\n```',
        "expected one JSON value, got 2 that differ",
    ),
    "two with prose": (
        '{"city": "a"} or else {"city": "b"}',
        "expected one JSON value, got 2 that differ",
    ),
    "two fences": (
        '```\n{"city": "a"}\n```\nor\n```\n{"city": "b"}\n```',
        "expected one JSON value, got 2 that differ",
    ),
    "one that is broken": (
        'Not {"city": } but {"city": "b"}',
        "the JSON is broken: expecting value near '{ \"city\" : }'",
    ),
    "NaN": ('{"days": NaN}', "NaN is not a JSON number"),
    "infinity": ('{"days": -Infinity}', "-Infinity is not a JSON number"),
    "too large": ('{"days": 1e999}', "1e999 is not a JSON number"),
    "hexadecimal": (
        '{"days": 0x10}',
        "the JSON is broken: expecting ',' delimiter near '{ \"days\" : 0x10 }'",
    ),
    "plus": ('{"days": +3}', "the JSON is broken: expecting value near '{ \"days\" : +3 }'"),
    "leading zero": (
        '{"days": 03}',
        "the JSON is broken: expecting ',' delimiter near '{ \"days\" : 03 }'",
    ),
    "thousands": (
        '{"days": 1_000}',
        "the JSON is broken: expecting ',' delimiter near '{ \"days\" : 1_000 }'",
    ),
    "two words": (
        '{"days": 1 2}',
        "the JSON is broken: expecting ',' delimiter near '{ \"days\" : 1 2 }'",
    ),
    "no comma": (
        '{"city": "a" "days": 3}',
        'the JSON is broken: expecting \',\' delimiter near \'{ "city" : "a" "days" : 3 }\'',
    ),
    "two commas": (
        '{"a": 1,, "b": 2}',
        (
            "the JSON is broken: expecting property name enclosed in double quotes "
            """near '{ "a" : 1 , , "b" : 2 }'"""
        ),
    ),
    "only a comma": ('{"a": [,]}', "the JSON is broken: expecting value near '{ \"a\" : [ , ] }'"),
    "dots": (
        '{"a": [1, ...]}',
        "the JSON is broken: expecting value near '{ \"a\" : [ 1 , ... ] }'",
    ),
    "key twice": ('{"a": 1, "a": 2}', "the key 'a' appears twice"),
    "apostrophe in single quotes": ("{'a': 'it's'}", "the JSON is broken near \"{'a': 'it's'}\""),
    "wrong escape": (
        '{"a": "b\\_c"}',
        'the JSON is broken: invalid \\escape near \'{ "a" : "b\\\\_c" }\'',
    ),
    "half a character": ('{"a": "\\ud83d"}', "a string has a lone surrogate, half of a character"),
    "brackets crossed": ('{"a": [1}', "the JSON is incomplete"),
    "too deep": ('{"a": ' + "[" * 64, "nested deeper than 64 levels"),
}


@pytest.mark.parametrize("text", READ.values(), ids=READ)
def test_one_reading_is_taken(text: str) -> None:
    """Fences, prose and slips with one possible meaning don't cost another question."""
    assert pick_json(text, (dict,)) == TRIP


@pytest.mark.parametrize(("text", "reason"), BROKEN.values(), ids=BROKEN)
def test_two_readings_are_refused(text: str, reason: str) -> None:
    """Where something would have to be guessed, the error says what and where."""
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        pick_json(text, (dict,))

    assert str(caught.value) == reason


def test_a_number_beyond_what_python_reads() -> None:
    """Python's own limit of digits is an error like any other."""
    with pytest.raises(ValueError, match="limit"):
        pick_json(f'{{"days": {"9" * 5000}}}', (dict,))


@pytest.mark.parametrize(
    ("text", "value"),
    cast(
        "list[tuple[str, object]]",
        [
            ("42", 42),
            (' "x"\n', "x"),
            ("```json\n42\n```", 42),
            ("True", True),
            ("None", None),
            ("[1, 2,]", [1, 2]),
            ('["```"]', ["```"]),
            ('```json\n{"code": "```python\\nx\\n```"}\n```', {"code": "```python\nx\n```"}),
            ('{"a": "line\nbreak"}', {"a": "line\nbreak"}),
            ("""{'a': 'say "it\\'s" \\u00e9\\n'}""", {"a": 'say "it\'s" é\n'}),
            ("""{"a": "it\\'s \\\\"}""", {"a": "it's \\"}),
            ('{"a": True, "b": None, "true": False}', {"a": True, "b": None, "true": False}),
            ("{城市: 1}", {"城市": 1}),
            ("{} is empty", {}),
            ("[[1], {}] and so on", [[1], {}]),
        ],
    ),
)
def test_values_of_any_kind_are_read(text: str, value: object) -> None:
    """A whole text may be any JSON; inside prose only objects and arrays count."""
    assert pick_json(text) == value


@pytest.mark.parametrize("slip", ["", ","])
def test_nesting_is_read_up_to_64_levels(slip: str) -> None:
    """The bound is the same for JSON with a slip and without one."""

    def nested(levels: int) -> str:
        return "[" * levels + "1" + slip + "]" * levels

    assert str(json_values(nested(64))) == f"[{'[' * 64}1{']' * 64}]"
    for levels in (65, 5000):
        with pytest.raises(ValueError, match="nested deeper than 64 levels"):
            json_values(nested(levels))


def test_the_wanted_kind_decides() -> None:
    """An object is looked for where an object is wanted, an array where an array is."""
    text = 'In [1] it says {"a": 1}.'

    assert pick_json(text, (dict,)) == {"a": 1}
    assert pick_json(text, (list,)) == [1]
    assert pick_json("In [1].", (dict,)) == [1]  # for the error to name what came


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=12,
)
FRAMES = ["{}", " {}\n", "```json\n{}\n```", "```\n{}"]


@given(value=JSON, frame=st.sampled_from(FRAMES), ascii_only=st.booleans())
def test_json_is_read_as_json(value: object, frame: str, ascii_only: bool) -> None:
    """Whatever JSON says is read as Python's own reader reads it."""
    text = json.dumps(value, ensure_ascii=ascii_only)

    assert pick_json(frame.replace("{}", text)) == json.loads(text)


@given(value=st.dictionaries(st.text("ab\"',:{}[]`\\/#\n", max_size=5), JSON, min_size=1))
def test_prose_around_changes_nothing(value: dict[str, Any]) -> None:
    """An object between two sentences is the object, whatever its strings hold."""
    assert pick_json(f"The answer is {json.dumps(value)}. Done.") == value


@given(text=st.text("{}[]\"':,ab1 \n`/#\\", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes another error than ValueError, and no number that JSON lacks comes out."""
    try:
        value = pick_json(text)
    except ValueError:
        return
    assert math.isfinite(len(json.dumps(value, allow_nan=False)))
