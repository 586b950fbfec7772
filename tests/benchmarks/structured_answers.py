"""The same structured answers read by several libraries: which each accepts, refuses or misreads.

`python -m tests.benchmarks.structured_answers` prints the table of docs/guide/structured.md. It
needs openai, instructor and pydantic. Each library reads each answer of `_support/model_answers`
through its own client, from a transport in this process, and may not ask again.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any, Literal

import attrs
import httpx
import pydantic
from model_answers import ANSWERS, Answer, Trip
from openai import OpenAI

from llama_dashscope import Client

from .table import draw

MODEL = "llama3.3-70b-instruct"
MESSAGES: list[Any] = [{"role": "user", "content": "A trip to the sea"}]
Read = Callable[[str], Any]


class StopModel(pydantic.BaseModel):
    """A place on the way, for the libraries that are built on pydantic."""

    model_config = pydantic.ConfigDict(extra="forbid")
    city: str
    nights: int
    sea: bool = False


class TripModel(pydantic.BaseModel):
    """A trip, for the libraries that are built on pydantic."""

    model_config = pydantic.ConfigDict(extra="forbid")
    title: str
    budget: float
    stops: list[StopModel]
    pace: Literal["slow", "fast"] = "slow"


def by_this_package(text: str) -> Any:
    """Read an answer as `client.parse` does."""
    message = {"role": "assistant", "content": text}
    output = {"choices": [{"finish_reason": "stop", "message": message}]}

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"output": output, "request_id": "1"})

    with Client("sk-local", transport=httpx.MockTransport(answer)) as client:
        return attrs.asdict(client.parse(MODEL, Trip, messages=MESSAGES, tries=1).value)


def compatible(text: str) -> OpenAI:
    """Make a client of openai's that gets an answer."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": MODEL}

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={**body, "choices": [choice]})

    client: Any = httpx.Client(transport=httpx.MockTransport(answer))
    return OpenAI(api_key="sk-local", base_url="http://local", http_client=client, max_retries=0)


def by_openai(text: str) -> Any:
    """Read an answer as openai's `parse` does."""
    reply = compatible(text).chat.completions.parse(
        model=MODEL, messages=MESSAGES, response_format=TripModel
    )
    made = reply.choices[0].message.parsed
    assert made is not None  # its result for an empty answer
    return made.model_dump()


def by_instructor(mode: str) -> Read:
    """Read answers as instructor does in a mode for models without tool calls."""

    def read(text: str) -> Any:
        # Imported by name: it is not installed where this file is type-checked.
        instructor: Any = importlib.import_module("instructor")
        client = instructor.from_openai(compatible(text), mode=instructor.Mode[mode])
        made = client.chat.completions.create(
            model=MODEL, messages=MESSAGES, response_model=TripModel, max_retries=0
        )
        return made.model_dump()

    return read


def by_pydantic(*, strict: bool) -> Read:
    """Read answers with pydantic alone."""
    return lambda text: TripModel.model_validate_json(text, strict=strict).model_dump()


READERS: dict[str, Read] = {
    "this package": by_this_package,
    "openai": by_openai,
    "instructor JSON": by_instructor("JSON"),
    "instructor MD_JSON": by_instructor("MD_JSON"),
    "pydantic": by_pydantic(strict=False),
    "pydantic strict": by_pydantic(strict=True),
}


TOTALS = {"taken": "taken wrongly", "refused": "refused wrongly", "misread": "misread"}


def verdict(answer: Answer, read: Read) -> str:
    """Return how a reader was wrong about an answer; empty if it was right."""
    try:
        made = read(answer.text)
    except Exception:  # each library has its own
        return "refused" if answer.meant is not None else ""
    if answer.meant is None:
        return "taken"
    same = json.dumps(made, sort_keys=True) == json.dumps(answer.meant, sort_keys=True)
    return "" if same else "read"


def rows() -> Iterator[list[str]]:
    """Return the answers that some reader got wrong, then the totals."""
    found = {answer.kind: [verdict(answer, r) for r in READERS.values()] for answer in ANSWERS}
    yield from ([kind, *row] for kind, row in found.items() if any(row))
    columns = list(zip(*found.values(), strict=True))
    for word, label in TOTALS.items():
        yield [label, *(str(column.count(word)) for column in columns)]
    yield [f"right, of {len(ANSWERS)}", *(str(column.count("")) for column in columns)]


if __name__ == "__main__":
    logging.disable()  # instructor logs each failure
    print(draw(["", *READERS], rows()))
