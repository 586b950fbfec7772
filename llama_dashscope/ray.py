"""Each row of a dataset of Ray Data answered by a model: `AskRows`, for `Dataset.map_batches`.

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
"""A batch of rows as Ray Data hands it on by default: columns by name, each with as many values."""


@final
class AskRows:
    """Asks a model about each row; a class to be called, for `Dataset.map_batches` of Ray Data.

    Each actor makes one client and keeps it. The rows of a batch are asked side by side. An actor
    works on one block at a time, and on up to four of its batches, so it makes as many calls at
    once as its block has rows, up to 4 x `batch_size`.

    Each row comes back with four more columns: `answer`, the text; `usage`, with `input_tokens`,
    `output_tokens` and `total_tokens`; `error`, what went wrong, empty where there is an answer;
    `attempts`, how many requests were sent for it. One that fails takes no other with it.

    Args:
        client: makes the client, in each actor; a function that can be pickled. Its pace belongs
            there: a `RedisPace`, or a `Pace` of as many requests a minute as the account may make,
            divided by the number of actors.
        model: name of the model.
        column: where the questions are: prompts, or conversations as lists of messages.
        tries: how often a row may be asked in vain before that is its result, 1 or more; refusals
            for the account's limits (429) don't count.
        **options: the keywords of `Options`, the same for each row.

    Raises:
        InvalidRequestError: an argument was refused, when an actor starts.
        TypeError: there is no such keyword.
        KeyError: when it is called: a batch has no such column.
        DashScopeError: when it is called: every other row would meet this error too, such as a
            refused key or spent quota. It ends Ray's run.
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
        """Answer a batch of rows, whose columns are arrays or lists; gives them with four more."""
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
    """Make columns whose values are of one type each and never None, as Parquet wants them."""
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
    """Make lists and dicts, without nulls, of what NumPy and Arrow have made of a conversation."""
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
