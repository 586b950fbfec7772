"""The verbs for many questions, `abatch` and `batch`, apart from the client's others.

The engine of a batch lies below the client and knows nothing of it: it is given what makes an item
a call, the pace, and the rules of waiting.
"""

import os
import random
from collections.abc import AsyncIterable, Iterable
from functools import partial
from typing import Any, Final, Protocol

import attrs

from llama_dashscope._errors import DashScopeError
from llama_dashscope._models import Chunk, Response
from llama_dashscope._protocol.answer_format import AnswerFormat
from llama_dashscope._protocol.arguments import CallArguments
from llama_dashscope._protocol.options import Options, TypeForm, Unpack
from llama_dashscope.batch.faces import AsyncBatch, Batch
from llama_dashscope.batch.items import BatchInput, BatchItem
from llama_dashscope.batch.journal import Again
from llama_dashscope.batch.plan import BatchPlan, PreparedItem

from .attempt import estimate_tokens
from .call import Call
from .call_runner import CallRunner
from .keyword_help import shows_keywords
from .pace import Pace
from .pacer import Pacer
from .retry import Retry
from .structured_call import StructuredCall
from .sync_bridge import run_sync

__all__ = ["BatchVerbs"]

ONCE: Final = Retry(times=0)
"""For a call that its batch makes again."""


ANSWERS: Final = 2
"""How many answers an item may have until one is of the type that is wanted."""


class _Owner(Protocol):
    """What makes calls: the client."""

    _engine: CallRunner

    def _prepare(self, model: str, prompt: str | None, arguments: CallArguments) -> Call[Chunk]: ...


class BatchVerbs:
    """What a client does to answer many questions."""

    @shows_keywords(Options)
    def abatch(
        self: "_Owner",
        items: Iterable[BatchInput] | AsyncIterable[BatchInput],
        *,
        model: str | None = None,
        journal: str | os.PathLike[str] | None = None,
        concurrency: int = 100,
        ordered: bool = False,
        tries: int = 3,
        again: Again = "passing",
        into: TypeForm[Any] | None = None,
        **options: Unpack[Options],
    ) -> AsyncBatch:
        """Ask many questions and take each answer as it comes: `async with` what this returns.

        Items are read as they are needed, so there may be millions. Each comes to a `BatchResult`,
        an answer or an error; one that fails takes no other with it. A refusal for the account's
        limits (429) never counts against an item. Spent quota and a refused key stop the batch.
        Without a pace of the client's a `Pace` of the batch's own finds out how fast it may go.

        Args:
            items: what to ask: prompts, lists of messages, or dicts with `custom_id` and the
                arguments of `acall`; a list, any other iterable, or an async one. Lines of OpenAI's
                batch files are taken too.
            model: name of the model, for items that name none.
            journal: a file that keeps each result as a line of JSON, in the form of OpenAI's batch
                files. A run that finds one goes on from it: what has an answer is skipped.
            concurrency: how many requests are under way at once, 1 or more.
            ordered: whether results come in the order of the items; by default as they are there.
            tries: how often an item may fail before that is its result, 1 or more.
            again: which failed items of the journal are asked again: `passing`, those whose failure
                may pass by itself; `failed`, all of them; `none`.
            into: the type that each answer is to be of, as for `aparse`: each result then has a
                `value`. An answer that does not fit is asked for once more; the usage of a result
                is that of both answers.
            **options: the keywords of `Options`, each with its range and source there.

        Raises:
            InvalidRequestError: an argument was refused; nothing was sent.
            TypeError: there is no such keyword.
        """
        return AsyncBatch(
            _plan(
                self,
                items=items,
                model=model,
                journal=journal,
                concurrency=concurrency,
                ordered=ordered,
                tries=tries,
                again=again,
                into=into,
                options=options,
            )
        )

    @shows_keywords(Options)
    def batch(
        self: "_Owner",
        items: Iterable[BatchInput] | AsyncIterable[BatchInput],
        *,
        model: str | None = None,
        journal: str | os.PathLike[str] | None = None,
        concurrency: int = 100,
        ordered: bool = False,
        tries: int = 3,
        again: Again = "passing",
        into: TypeForm[Any] | None = None,
        **options: Unpack[Options],
    ) -> Batch:
        """Ask many questions and take each answer as it comes, in sync code: `with` this.

        It is `abatch` for sync code, and takes the same arguments. Items are read in the event
        loop's thread.

        Args:
            items: what to ask, see `abatch`.
            model: name of the model, for items that name none.
            journal: a file that keeps each result, and from which a later run goes on.
            concurrency: how many requests are under way at once, 1 or more.
            ordered: whether results come in the order of the items; by default as they are there.
            tries: how often an item may fail before that is its result, 1 or more.
            again: which failed items of the journal are asked again: `passing`, `failed`, `none`.
            into: the type that each answer is to be of.
            **options: the keywords of `Options`, each with its range and source there.

        Raises:
            InvalidRequestError: an argument was refused; nothing was sent.
            TypeError: there is no such keyword.
        """
        return Batch(
            _plan(
                self,
                items=items,
                model=model,
                journal=journal,
                concurrency=concurrency,
                ordered=ordered,
                tries=tries,
                again=again,
                into=into,
                options=options,
            ),
            run_sync,
        )


def _plan(owner: _Owner, *, into: object, **told: Any) -> BatchPlan:  # checked by the plan
    """Plan a batch of a client's calls; without a pace of the client's it has one of its own."""
    engine = owner._engine  # noqa: SLF001  # the verbs are the client's
    pace = engine.pace or Pace()
    wanted = None if into is None else AnswerFormat(into)

    def pause(error: DashScopeError, tries: int) -> float | None:
        return engine.retry.delay(error, tries, random.random())  # noqa: S311  # no secret

    def prepare(item: BatchItem) -> PreparedItem:
        return _prepare(owner, item) if wanted is None else _prepare_value(owner, item, wanted)

    return BatchPlan(prepare=prepare, admit=pace.admit, pause=pause, **told)


def _prepare(owner: _Owner, item: BatchItem) -> PreparedItem:
    """Make an item a call."""
    call = owner._prepare(item.model, item.prompt, item.arguments)  # noqa: SLF001  # as above

    async def ask(turn: Pacer) -> tuple[Response, None]:
        return await _send(owner, turn, call), None

    return PreparedItem(call.payload.body, estimate_tokens(call.payload), ask)


def _prepare_value(owner: _Owner, item: BatchItem, wanted: AnswerFormat) -> PreparedItem:
    """Make an item a call for a value; after a failure it goes on where it was."""
    prepare = partial(owner._prepare, item.model)  # noqa: SLF001  # as above
    structured = StructuredCall(prepare, wanted, item.prompt, item.arguments, ANSWERS)

    async def ask(turn: Pacer) -> tuple[Response, object]:
        parsed = await structured.run(partial(_send, owner, turn))
        return attrs.evolve(parsed.response, usage=parsed.usage), parsed.value

    payload = structured.call.payload
    return PreparedItem(payload.body, estimate_tokens(payload), ask)


async def _send(owner: _Owner, turn: Pacer, call: Call[Chunk]) -> Response:
    """Make a call once, at the pace of a turn."""
    once = attrs.evolve(call, pace=turn, retry=ONCE)
    return await owner._engine.whole(once)  # noqa: SLF001  # as above
