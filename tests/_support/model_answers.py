"""Typical answers of models that are asked for JSON, and how each one is to be read.

All are answers to a request for a `Trip`. The list tests this package and compares it with others.
"""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

import attrs

__all__ = ["ANSWERS", "Answer", "Stop", "Trip"]


@attrs.frozen
class Stop:
    """A place on the way."""

    city: str
    nights: int
    sea: bool = False


@attrs.frozen
class Trip:
    """A trip through some cities."""

    title: str
    budget: float
    stops: list[Stop]
    pace: Literal["slow", "fast"] = "slow"


class Answer(NamedTuple):
    """A model's answer."""

    kind: str
    """What is special about it."""
    text: str
    meant: dict[str, Any] | None
    """The trip that the answer means; None if it must be refused."""
    reason: str = ""
    """A part of the error message if it is refused."""


TRIP: dict[str, Any] = {
    "title": "去海边",
    "budget": 1200.5,
    "stops": [{"city": "Nizza", "nights": 2, "sea": True}],
    "pace": "fast",
}
GOOD = json.dumps(TRIP, ensure_ascii=False)
OTHER = GOOD.replace("Nizza", "Rom")
THINKS = f"<think>First idea: {OTHER} but no.</think>"
ECHO = '{"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}'


def changed(**fields: Any) -> str:
    """Return the trip as JSON, with other values."""
    return json.dumps({**TRIP, **fields}, ensure_ascii=False)


def stop(**fields: Any) -> str:
    """Return the trip as JSON, with other values in its stop."""
    return changed(stops=[{**TRIP["stops"][0], **fields}])


def without(field: str) -> str:
    """Return the trip as JSON, without a field."""
    return json.dumps({name: value for name, value in TRIP.items() if name != field})


ANSWERS = [
    # Around the JSON.
    Answer("JSON alone", GOOD, TRIP),
    Answer("a fence", f"```json\n{GOOD}\n```", TRIP),
    Answer("a fence without end", f"```json\n{GOOD}", TRIP),
    Answer("a fence in prose", f"Gern!\n\n```json\n{GOOD}\n```\n\nGute Reise!", TRIP),
    Answer("a fence inside a string", changed(title="```x```"), {**TRIP, "title": "```x```"}),
    Answer("prose around", f"Here is your trip: {GOOD} Enjoy!", TRIP),
    Answer("prose with brackets", f"Of {{all}} trips [1] I choose {GOOD}.", TRIP),
    Answer("the same twice", f"{GOOD}\n\nAs asked, in JSON:\n```json\n{GOOD}\n```", TRIP),
    Answer("what it is not", f"Not {changed(title=1)} but {GOOD}", TRIP),
    Answer("two that differ", f"{GOOD}\n\nOr:\n\n{OTHER}", None, "2 that differ"),
    Answer("a draft in its thoughts", f"{THINKS}\n{GOOD}", TRIP),
    Answer("the schema before it", f"{ECHO}\n\n{GOOD}", TRIP),
    Answer("two that don't fit", f"{ECHO}\n\n{without('title')}", None, "2 that differ"),
    Answer("no JSON", "I'm sorry, I can't plan trips.", None, "found none in the text"),
    Answer("nothing", "", None, "the text is empty"),
    # The JSON itself.
    Answer("a trailing comma", GOOD.replace('"fast"}', '"fast",}'), TRIP),
    Answer("comments", GOOD.replace("{", "{ // a trip\n", 1), TRIP),
    Answer("single quotes", GOOD.replace('"', "'"), TRIP),
    Answer("curly quotes", GOOD.replace('"title": "去海边"', "“title”: “去海边”"), TRIP),
    Answer("Chinese punctuation", GOOD.replace('"title": ', '"title"：').replace(", ", "，"), TRIP),
    Answer("keys without quotes", GOOD.replace('"title"', "title"), TRIP),
    Answer("Python's words", GOOD.replace("true", "True"), TRIP),
    Answer(
        "a line break in a string",
        changed(title="a\nb").replace("\\n", "\n"),
        {**TRIP, "title": "a\nb"},
    ),
    Answer("cut off", GOOD[:-12], None, "broken near"),
    Answer("cut off before a value", GOOD[:-8], None, "is incomplete"),
    Answer("closed too often", f"{GOOD}}}", None, "got more"),
    Answer("a comma too few", GOOD.replace(', "budget"', ' "budget"'), None, "broken"),
    Answer("a key twice", GOOD.replace("{", '{"title": "x", ', 1), None, "appears twice"),
    Answer("NaN", GOOD.replace("1200.5", "NaN"), None, "NaN is not a JSON number"),
    Answer("infinity", GOOD.replace("1200.5", "Infinity"), None, "Infinity is not a JSON number"),
    Answer("thousands", GOOD.replace("1200.5", "1,200.5"), None, "broken"),
    Answer("half a character", GOOD.replace("去海边", "\\ud83d"), None, "half of a character"),
    # What it says.
    Answer("a whole number for a float", changed(budget=1200), {**TRIP, "budget": 1200.0}),
    Answer("a default left out", without("pace"), {**TRIP, "pace": "slow"}),
    Answer("a number in a string", stop(nights="2"), None, "$.stops[0].nights: expected a whole"),
    Answer("a float for a whole number", stop(nights=2.0), None, "$.stops[0].nights: expected a"),
    Answer("true for a whole number", stop(nights=True), None, "$.stops[0].nights: expected a"),
    Answer("1 for true", stop(sea=1), None, "$.stops[0].sea: expected true or false, got 1"),
    Answer("yes for true", stop(sea="yes"), None, "$.stops[0].sea: expected true or false"),
    Answer(
        "a number with its unit", changed(budget="1200 EUR"), None, "$.budget: expected a number"
    ),
    Answer("null", changed(title=None), None, "$.title: expected a string, got null"),
    Answer("a field is missing", without("title"), None, "$.title: is missing"),
    Answer("a field too many", changed(mood="good"), None, "$.mood: is not a known field"),
    Answer("keys in Chinese", GOOD.replace("title", "标题"), None, "$.标题: is not a known field"),
    Answer("another spelling", changed(pace="Fast"), None, "$.pace: expected 'slow' or 'fast'"),
    Answer(
        "an object for an array", changed(stops=TRIP["stops"][0]), None, "$.stops: expected an a"
    ),
    Answer("an array of strings", changed(stops=["Nizza"]), None, "$.stops[0]: expected an object"),
    Answer("an array around it", f"[{GOOD}]", None, "$: expected an object, got an array"),
    Answer("an object around it", f'{{"trip": {GOOD}}}', None, "$.title: is missing"),
    Answer("JSON in a string", json.dumps(GOOD), None, "$: expected an object"),
    Answer("the schema, filled in", f'{{"type": "object", "properties": {GOOD}}}', None, "$.title"),
]
