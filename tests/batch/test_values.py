"""Batches of structured answers: a value for each item, or a ParseError."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from llama_dashscope import (
    BatchResult,
    BatchSummary,
    Client,
    InvalidRequestError,
    ParseError,
    read_journal,
)
from llama_dashscope.testing import LocalDashScope, RateLimited, ReceivedRequest, Reply

MODEL = "llama3.3-70b-instruct"
GOOD = '{"of": "1+2", "total": 3}'
WRONG = '{"of": "1+2", "total": "3"}'
COUNTED = {"input_tokens": 10, "output_tokens": 1}


@attrs.frozen
class Sum:
    """A sum."""

    of: str
    total: int


def add(request: ReceivedRequest) -> str:
    """Add up what stands in the first line of the question."""
    given = request.json["input"]
    text = str(given.get("prompt") or given["messages"][-1]["content"]).partition("\n")[0]
    return f'```json\n{{"of": "{text}", "total": {sum(map(int, text.split("+")))}}}\n```'


async def taken(
    client: Client, items: list[Any], **options: Any
) -> tuple[list[BatchResult], BatchSummary]:
    """Run a batch that asks for sums; return its results in order, and the summary."""
    options.setdefault("into", Sum)
    async with client.abatch(items, model=MODEL, ordered=True, **options) as batch:
        results = [result async for result in batch]
    return results, batch.summary


@pytest.mark.anyio
async def test_each_result_has_its_value(server: LocalDashScope, client: Client) -> None:
    """Prompts and conversations come to instances of the class."""
    server.reply(add)

    results, summary = await taken(client, ["1+2", [{"role": "user", "content": "3+4"}]])

    assert [result.value for result in results] == [Sum("1+2", 3), Sum("3+4", 7)]
    assert [result.attempts for result in results] == [1, 1]
    assert summary.answered == 2


def test_in_sync_code_too(server: LocalDashScope, client: Client) -> None:
    """The twin takes the same argument."""
    server.reply(add)

    with client.batch(["1+2"], model=MODEL, into=Sum) as batch:
        [result] = batch

    assert result.value == Sum("1+2", 3)


@pytest.mark.anyio
async def test_without_a_type_there_is_no_value(client: Client) -> None:
    """The answer is a text then."""
    [result], _ = await taken(client, ["a"], into=None)

    assert (result.text, result.value) == ("re: a", None)


@pytest.mark.anyio
async def test_a_wrong_answer_is_asked_for_once_more(
    server: LocalDashScope, client: Client
) -> None:
    """The usage of both answers is the item's, and is billed in the summary."""
    server.reply([Reply(WRONG, usage=COUNTED), Reply(GOOD, usage=COUNTED)])

    [result], summary = await taken(client, ["1+2"])

    assert result.value == Sum("1+2", 3)
    assert result.attempts == 2
    assert result.unwrap().text == GOOD
    assert (summary.input_tokens, summary.output_tokens) == (20, 2)
    assert (summary.answered, summary.retries) == (1, 0)
    assert "- $.total: expected a whole number, got '3'" in server.requests[1].text


@pytest.mark.anyio
async def test_a_refusal_of_the_second_question_loses_nothing(
    server: LocalDashScope, client: Client
) -> None:
    """The item goes on where it was: its first question is not asked, nor billed, again."""
    refused = RateLimited(retry_after=0.01)
    server.reply([Reply(WRONG, usage=COUNTED), refused, Reply(GOOD, usage=COUNTED)])

    [result], summary = await taken(client, ["1+2"])
    first, second, third = (request.text for request in server.requests)

    assert result.value == Sum("1+2", 3)
    assert first != second == third
    assert (summary.refusals, summary.input_tokens) == (1, 20)


@pytest.mark.anyio
async def test_what_never_fits_is_an_error(
    server: LocalDashScope, client: Client, tmp_path: Path
) -> None:
    """It is kept and not asked again by itself, as it would fail again; `failed` does so."""
    journal = tmp_path / "sums.jsonl"
    server.reply(Reply(WRONG, usage=COUNTED))

    [result], summary = await taken(client, ["1+2"], journal=journal)

    assert isinstance(result.error, ParseError)
    assert result.error.paths == ("$.total",)
    assert (result.response, result.value) == (None, None)
    assert (summary.errors, summary.output_tokens) == ({"ParseError": 1}, 2)

    [kept] = read_journal(journal, into=Sum)

    assert isinstance(kept.error, ParseError)
    assert kept.error.partial_text == WRONG

    server.reply(GOOD)
    _, summary = await taken(client, ["1+2"], journal=journal)

    assert summary.skipped == 1

    [result], _ = await taken(client, ["1+2"], journal=journal, again="failed")

    assert result.value == Sum("1+2", 3)


@pytest.mark.anyio
async def test_a_journal_gives_values(
    server: LocalDashScope, client: Client, tmp_path: Path
) -> None:
    """Results that were kept are read into the type, or say why they can't be."""
    journal = tmp_path / "sums.jsonl"
    server.reply(add)
    await taken(client, ["1+2", "3+4"], journal=journal)

    assert {kept.value for kept in read_journal(journal, into=Sum)} == {
        Sum("1+2", 3),
        Sum("3+4", 7),
    }
    assert [kept.value for kept in read_journal(journal)] == [None, None]

    wrong, _ = read_journal(journal, into=list[int])

    assert isinstance(wrong.error, ParseError)
    assert wrong.error.message == "the answer does not fit: $: expected an array, got an object"
    assert wrong.error.paths == ("$",)
    assert wrong.response is None


@pytest.mark.anyio
async def test_another_type_is_another_question(
    server: LocalDashScope, client: Client, tmp_path: Path
) -> None:
    """The schema is a part of what is asked, so a journal of another type is no answer to it."""
    journal = tmp_path / "sums.jsonl"
    server.reply(add)
    await taken(client, ["1+2"], journal=journal)

    [result], _ = await taken(client, ["1+2"], journal=journal, into=dict[str, str])

    assert isinstance(result.error, InvalidRequestError)
    assert "a different question" in result.error.message


@pytest.mark.anyio
async def test_what_can_not_be_asked_for_is_refused(server: LocalDashScope, client: Client) -> None:
    """A type without a form in JSON is refused by the verb, several answers by the item."""
    with pytest.raises(InvalidRequestError, match="into: complex has no form in JSON"):
        client.abatch(["a"], model=MODEL, into=complex)

    [result], _ = await taken(client, [{"prompt": "1+2", "n": 2}])

    assert isinstance(result.error, InvalidRequestError)
    assert server.requests == []
