"""For Ray Data: `AskRows`, for `Dataset.map_batches`, asks a model about each row of a dataset.

::

    dataset.map_batches(
        AskRows,
        fn_constructor_kwargs={"client": make_client, "model": "llama3.3-70b-instruct"},
        batch_size=50, compute=ActorPoolStrategy(size=2), num_cpus=0.5,
    )
"""

import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, cast, final

from llama_dashscope import BatchResult, Client, Options, Usage

if sys.version_info >= (3, 11):
    from typing import Unpack
else:
    from typing_extensions import Unpack

__all__ = ["AskRows"]

Rows = Mapping[str, Sequence[Any]]
"""A batch of rows in Ray Data's default form: columns by name, all of the same length."""


@final
class AskRows:
    """Asks a model about each row; a callable class for `Dataset.map_batches` of Ray Data.

    Each actor makes one client and keeps it. The rows of a batch are asked concurrently. An actor
    works on one block at a time, and on up to four of its batches, so it makes as many calls at
    once as its block has rows, up to 4 x `batch_size`.

    Each row is returned with four more columns: `answer`, the text; `usage`, with `input_tokens`,
    `output_tokens` and `total_tokens`; `error`, the error message, empty if there is an answer;
    `attempts`, how many requests were sent for the row. A failed row doesn't affect the others.

    Args:
        client: a function that makes the client in each actor; it must be picklable. Set the pace
            there: a `RedisPace`, or a `Pace` with the account's limits divided by the number of
            actors.
        model: name of the model.
        column: the column of the questions: prompts, or conversations as lists of messages.
        tries: how many times a row may fail before the failure is its result, 1 or more; being
            refused by the account's rate limits (429) doesn't count.
        **options: the keywords of `Options`, the same for each row.

    Raises:
        InvalidRequestError: an argument was refused, when an actor starts.
        TypeError: there is no such keyword.
        KeyError: when called: a batch has no such column.
        DashScopeError: when called: an error that every other row would get too, such as a refused
            key or used-up quota. It ends Ray's run.
    """

    def __init__(
        self,
        client: Callable[[], Client],
        *,
        model: str,
        column: str = "prompt",
        tries: int = 3,
        **options: Unpack[Options],
    ) -> None:
        self._client = client()
        self._model = model
        self._column = column
        self._tries = tries
        self._options = options
        self._client.abatch([], model=model, tries=tries, **options)  # checks them

    async def __call__(self, rows: Rows) -> AsyncGenerator[dict[str, Sequence[Any]]]:
        """Answer a batch of rows, whose columns are arrays or lists; yield it with four more."""
        if self._column not in rows:
            raise KeyError(f"AskRows: no column {self._column!r} among {sorted(rows)}")
        items = [_plain(each) for each in rows[self._column]]
        async with self._client.abatch(
            items,
            model=self._model,
            concurrency=max(1, len(items)),
            ordered=True,
            tries=self._tries,
            **self._options,
        ) as batch:
            results = [result async for result in batch]
            stopped = batch.summary.stopped
        if stopped is not None:
            raise stopped
        yield {**rows, **_columns(results)}


def _columns(results: Sequence[BatchResult]) -> dict[str, Sequence[Any]]:
    """Return the new columns, each of one type and without None, as Parquet requires."""
    return {
        "answer": ["" if each.response is None else each.response.text for each in results],
        "usage": [_usage(each) for each in results],
        "error": [
            "" if each.error is None else f"{type(each.error).__name__}: {each.error}"
            for each in results
        ],
        "attempts": [each.attempts for each in results],
    }


def _usage(result: BatchResult) -> dict[str, int]:
    usage = (result.response and result.response.usage) or Usage()
    names = ("input_tokens", "output_tokens", "total_tokens")
    return {name: getattr(usage, name) for name in names}


def _plain(value: Any) -> Any:
    """Convert NumPy's and Arrow's form of a conversation back to lists and dicts, without nulls."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        fields = cast("Mapping[str, Any]", value)
        return {name: _plain(each) for name, each in fields.items() if each is not None}
    return (
        [_plain(each) for each in cast("Sequence[Any]", value)]
        if isinstance(value, list)
        else value
    )
