"""The client's methods `abatch` and `batch`.

The batch package doesn't know the client. It is given functions: one that makes a call from an
item, one for the pace, and one for the pause after a failure.
"""

import os
import random
from collections.abc import AsyncIterable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

import attrs

from llama_dashscope._errors import ConfigurationError, DashScopeError
from llama_dashscope._models import Chunk, Response
from llama_dashscope._protocol.answer_format import AnswerFormat
from llama_dashscope._protocol.arguments import CallArguments, call_arguments
from llama_dashscope._protocol.options import Options, TypeForm, Unpack
from llama_dashscope.batch.faces import AsyncBatch, Batch
from llama_dashscope.batch.items import BatchInput, BatchItem
from llama_dashscope.batch.journal import Again
from llama_dashscope.batch.plan import BatchPlan, PreparedItem

from .attempt import estimate_tokens
from .call import Call
from .call_runner import CallRunner
from .keyword_help import shows_keywords
from .pacer import Pacer
from .retry import Retry
from .structured_call import StructuredCall
from .sync_bridge import run_sync

__all__ = ["BatchVerbs"]

NO_RETRY: Final = Retry(times=0)
"""For the calls of a batch, which the batch itself retries."""


MAX_ANSWERS: Final = 2
"""How many answers an item with `into` may take until one is of that type."""


class _Owner(Protocol):
    """The parts of the client that are used here."""

    _engine: CallRunner

    def _prepare(self, model: str, prompt: str | None, arguments: CallArguments) -> Call[Chunk]: ...


class BatchVerbs:
    """The client's methods for batches."""

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
        """Ask many questions and yield each answer as it arrives: use it with `async with`.

        Items are read as they are needed, so there may be millions. Each item gets a `BatchResult`,
        with an answer or an error; a failed item doesn't affect the others. Being refused by a rate
        limit of the account (429) never counts as a failure of an item. Used-up quota and a refused
        key stop the batch. If the client has no pace, its batches share a `Pace`, which finds
        out how fast requests may go.

        Args:
            items: what to ask: prompts, lists of messages, or dicts with `custom_id` and the
                arguments of `acall`, in a list, another iterable, or an async one. Lines of
                OpenAI's batch files are accepted too.
            model: name of the model, for items that name none.
            journal: path of a file that stores each result as a line of JSON, in the form of
                OpenAI's batch files. If it exists, the run resumes: answered items are skipped.
            concurrency: how many requests are in flight at most, 1 or more.
            ordered: whether results come in the order of the items; by default as they arrive.
            tries: how many times an item may fail before the failure is its result, 1 or more.
            again: which failed items of the journal are asked again: `passing`, those whose failure
                may be temporary; `failed`, all of them; `none`.
            into: the type to read each answer into, as for `aparse`; each result then has a
                `value`. If an answer does not fit, one more is requested; the result's usage is
                the sum of both.
            **options: the keywords of `Options`, each with its range and source there.

        Raises:
            InvalidRequestError: an argument was refused; nothing was sent.
            TypeError: there is no such keyword.
        """
        try:
            plan = _plan(
                self,
                items=items,
                model=model,
                journal=journal,
                concurrency=concurrency,
                ordered=ordered,
                tries=tries,
                again=again,
                into=into,
                options=call_arguments(**options),
            )
        finally:
            del options  # the key may be among them, and error reports show local variables
        return AsyncBatch(plan)

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
        """Ask many questions and yield each answer as it arrives, in sync code: use it with `with`.

        This is `abatch` for sync code, with the same arguments. Items are read in the event loop's
        thread.

        Args:
            items: what to ask, see `abatch`.
            model: name of the model, for items that name none.
            journal: path of a file that stores each result, and from which a later run resumes.
            concurrency: how many requests are in flight at most, 1 or more.
            ordered: whether results come in the order of the items; by default as they arrive.
            tries: how many times an item may fail before the failure is its result, 1 or more.
            again: which failed items of the journal are asked again: `passing`, `failed`, `none`.
            into: the type to read each answer into.
            **options: the keywords of `Options`, each with its range and source there.

        Raises:
            InvalidRequestError: an argument was refused; nothing was sent.
            TypeError: there is no such keyword.
        """
        try:
            plan = _plan(
                self,
                items=items,
                model=model,
                journal=journal,
                concurrency=concurrency,
                ordered=ordered,
                tries=tries,
                again=again,
                into=into,
                options=call_arguments(**options),
            )
        finally:
            del options  # as in `abatch`
        return Batch(plan, run_sync)


def _plan(owner: _Owner, *, into: object, **settings: Any) -> BatchPlan:  # checked by the plan
    """Plan a batch of a client's calls."""
    engine = owner._engine  # noqa: SLF001  # this is part of the client
    wanted = None if into is None else AnswerFormat(into)

    def pause(error: DashScopeError, tries: int) -> float | None:
        return engine.retry.delay(error, tries, random.random())  # noqa: S311  # no secret

    def prepare(item: BatchItem) -> PreparedItem:
        return _prepare(owner, item) if wanted is None else _prepare_value(owner, item, wanted)

    plan = BatchPlan(prepare=prepare, admit=engine.batch_pace.admit, pause=pause, **settings)
    _check_options(plan)
    return plan


def _check_options(plan: BatchPlan) -> None:
    """Check what applies to all items by preparing one, so that not every item fails.

    Raises:
        InvalidRequestError: an option is invalid.
    """
    model = "any" if plan.model is None else plan.model
    with suppress(ConfigurationError):  # no key: each item may have its own
        plan.prepare(BatchItem("", 0, None, model, "any", plan.options))


def _prepare(owner: _Owner, item: BatchItem) -> PreparedItem:
    """Prepare the call of an item."""
    call = owner._prepare(item.model, item.prompt, item.arguments)  # noqa: SLF001  # as above

    async def ask(turn: Pacer) -> tuple[Response, None]:
        return await _send(owner, turn, call), None

    return PreparedItem(call.payload.body, estimate_tokens(call.payload), ask)


def _prepare_value(owner: _Owner, item: BatchItem, wanted: AnswerFormat) -> PreparedItem:
    """Prepare the structured call of an item; after a failure it continues where it stopped."""
    prepare = partial(owner._prepare, item.model)  # noqa: SLF001  # as above
    structured = StructuredCall(prepare, wanted, item.prompt, item.arguments, MAX_ANSWERS)

    async def ask(turn: Pacer) -> tuple[Response, object]:
        parsed = await structured.run(partial(_send, owner, turn))
        return attrs.evolve(parsed.response, usage=parsed.usage), parsed.value

    payload = structured.call.payload
    return PreparedItem(payload.body, estimate_tokens(payload), ask)


async def _send(owner: _Owner, turn: Pacer, call: Call[Chunk]) -> Response:
    """Make a call once, paced by `turn`."""
    once = attrs.evolve(call, pace=turn, retry=NO_RETRY)
    return await owner._engine.whole(once)  # noqa: SLF001  # as above
