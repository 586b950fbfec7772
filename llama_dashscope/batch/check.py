"""A dry run of a batch: its items are read and checked, and nothing is sent."""

from typing import Final

import anyio.to_thread
import attrs

from .digest_index import DigestIndex
from .intake import Intake, Rejection
from .journal import look_up
from .plan import BatchPlan
from .results import BatchResult
from .summary import Tally

__all__ = ["BatchCheck", "check_items"]

MOST_MISTAKES: Final = 20
"""Most invalid items that are listed."""


@attrs.frozen
class BatchCheck:
    """The result of a dry run: what a run of the batch would do."""

    asked: int
    """Items that would be asked."""
    skipped: int
    """Items whose result the journal already has."""
    wrong: int
    """Items that are invalid."""
    tokens: int
    """Estimated tokens of all questions and answers: a quarter of the bytes of the requests, and
    256 for each answer."""
    mistakes: tuple[BatchResult, ...]
    """The first 20 invalid items, with their errors."""


async def check_items(plan: BatchPlan) -> BatchCheck:
    """Read all items of a plan and check them.

    Raises:
        Exception: see `AsyncBatch.__aenter__`, or an error that the input raises.
    """
    index, tally = DigestIndex(), Tally()
    if plan.journal is not None:
        await anyio.to_thread.run_sync(look_up, plan.journal, plan.again, index)
    intake = Intake(plan, index, tally)
    asked = wrong = tokens = 0
    mistakes: list[BatchResult] = []
    try:
        while met := await intake.read():
            if isinstance(met, Rejection):
                wrong += 1
                mistakes += [met.result] if wrong <= MOST_MISTAKES else []
            else:
                asked += 1
                tokens += met.prepared.tokens
    finally:
        await intake.aclose()
    return BatchCheck(asked, tally.skipped, wrong, tokens, tuple(mistakes))
