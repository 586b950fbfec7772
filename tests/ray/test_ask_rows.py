"""Batches of rows, answered as in one of Ray's actors, without Ray."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import pytest

from llama_dashscope import AuthenticationError, Client, InvalidRequestError
from llama_dashscope.ray import AskRows
from llama_dashscope.testing import ErrorStatus, LocalDashScope, RateLimited

MODEL = "llama3.3-70b-instruct"


class FakeArray:
    """An array of NumPy's, as far as it is used."""

    def __init__(self, *values: Any) -> None:
        """Hold values."""
        self.values = values

    def __iter__(self) -> Any:
        return iter(self.values)

    def tolist(self) -> list[Any]:
        """Return them as they are: only the outermost array becomes a list."""
        return list(self.values)


@pytest.fixture
def make(server: LocalDashScope) -> Callable[[], Client]:
    """Make a client, as an actor does."""
    return lambda: Client(server.api_key, base_url=server.base_url)


async def answer(ask: AskRows, rows: Any) -> dict[str, Any]:
    """Have a batch of rows answered."""
    [answered] = [each async for each in ask(rows)]
    return dict(answered)


@pytest.mark.anyio
async def test_each_row_gets_its_answer(server: LocalDashScope, make: Callable[[], Client]) -> None:
    """Four columns are added, in the order of the rows; the others stay."""
    server.reply(lambda request: f"re: {request.prompt}")
    rows = {"id": [7, 8, 9], "prompt": ["a", "b", "c"]}
    answered = await answer(AskRows(make, model=MODEL, temperature=0.5), rows)

    assert list(answered) == ["id", "prompt", "answer", "usage", "error", "attempts"]
    assert answered["id"] == [7, 8, 9]
    assert answered["answer"] == ["re: a", "re: b", "re: c"]
    assert answered["error"] == ["", "", ""]
    assert answered["attempts"] == [1, 1, 1]
    for usage in answered["usage"]:
        assert usage["input_tokens"] + usage["output_tokens"] == usage["total_tokens"] > 0
    assert [each.parameters["temperature"] for each in server.requests] == [0.5] * 3


@pytest.mark.anyio
async def test_a_column_may_hold_conversations(
    server: LocalDashScope, make: Callable[[], Client]
) -> None:
    """As lists, or as the arrays of dicts with nulls that Arrow makes of them."""
    question = {"role": "user", "content": "hi", "name": None}
    rows = {"chat": [[question], FakeArray(question, {"role": "assistant", "content": "yes"})]}
    answered = await answer(AskRows(make, model=MODEL, column="chat"), rows)

    assert answered["error"][0] == ""
    assert {len(each.messages) for each in server.requests} == {1, 2}
    assert all("name" not in each.messages[0] for each in server.requests)


@pytest.mark.anyio
async def test_errors_are_values(server: LocalDashScope, make: Callable[[], Client]) -> None:
    """What fails takes no other row with it, and has values of the same types."""
    server.fault(ErrorStatus(400))
    rows = {"prompt": ["a", array("i", [1]), "b", None]}
    answered = await answer(AskRows(make, model=MODEL), rows)
    errors = [each.partition(":")[0] for each in answered["error"]]

    assert sorted(errors) == ["", "BadRequestError", "InvalidRequestError", "InvalidRequestError"]
    for error, text, usage in zip(
        answered["error"], answered["answer"], answered["usage"], strict=True
    ):
        assert bool(error) != bool(text)
        assert bool(error) == (usage["total_tokens"] == 0)
    assert sorted(answered["attempts"]) == [0, 0, 1, 1]


@pytest.mark.anyio
async def test_attempts_are_counted(server: LocalDashScope, make: Callable[[], Client]) -> None:
    """Refusals for the account's limits among them."""
    server.fault(RateLimited(retry_after=0))
    answered = await answer(AskRows(make, model=MODEL), {"prompt": ["a"]})

    assert answered["attempts"] == [2]


@pytest.mark.anyio
async def test_tries_bound_them(server: LocalDashScope, make: Callable[[], Client]) -> None:
    """A row that fails so often has an error."""
    server.fault(ErrorStatus(500), times=5)
    answered = await answer(AskRows(make, model=MODEL, tries=1), {"prompt": ["a"]})

    assert answered["attempts"] == [1]
    assert answered["error"][0].startswith("InternalServerError: ")


@pytest.mark.anyio
async def test_what_every_row_would_meet_ends_the_run(server: LocalDashScope) -> None:
    """A refused key is no value."""
    ask = AskRows(lambda: Client("sk-wrong", base_url=server.base_url), model=MODEL)
    with pytest.raises(AuthenticationError):
        await answer(ask, {"prompt": ["a", "b"]})


@pytest.mark.anyio
async def test_no_rows_are_no_work(make: Callable[[], Client]) -> None:
    """An empty batch has the columns, too."""
    assert await answer(AskRows(make, model=MODEL), {"prompt": []}) == {
        "prompt": [],
        "answer": [],
        "usage": [],
        "error": [],
        "attempts": [],
    }


@pytest.mark.anyio
async def test_a_column_that_is_not_there_is_named(make: Callable[[], Client]) -> None:
    """So are those that are."""
    with pytest.raises(KeyError, match=r"no column 'prompt' among \['id', 'question'\]"):
        await answer(AskRows(make, model=MODEL), {"question": ["a"], "id": [1]})


def test_arguments_are_checked_before_any_row(make: Callable[[], Client]) -> None:
    """When an actor starts."""
    wrong: Any = {"temperatur": 1}
    with pytest.raises(TypeError, match="temperatur"):
        AskRows(make, model=MODEL, **wrong)
    with pytest.raises(InvalidRequestError, match="tries"):
        AskRows(make, model=MODEL, tries=0)
