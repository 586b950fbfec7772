"""Reads the input of a batch: items to ask, items that the journal has, invalid items."""

from typing import Final

import anyio.lowlevel
import attrs

from llama_dashscope._errors import InvalidRequestError
from llama_dashscope._sanitize import without_frames

from .digest_index import DigestIndex, body_digest, id_digest
from .items import BatchItem, item_id, read_item
from .journal import KEPT
from .plan import BatchPlan, PreparedItem
from .results import BatchResult
from .source import END, Source
from .summary import Tally

__all__ = ["Intake", "Question", "Rejection"]

SEEN: Final = 2
"""Mark of an id that has occurred in the input of this run."""

YIELD_EVERY: Final = 64
"""How many items are skipped in a row before other tasks may run."""

NO_BODY: Final = body_digest(b"")


@attrs.frozen
class Question:
    """An item whose call is to be made."""

    item: BatchItem
    prepared: PreparedItem
    digest: bytes
    """Digest of its request body."""


@attrs.frozen
class Rejection:
    """An invalid item."""

    result: BatchResult
    digest: bytes | None
    """Digest of its request body; None if another item has its id, so that it gets no line."""


class Intake:
    """Reads and classifies items, one at a time."""

    def __init__(self, plan: BatchPlan, index: DigestIndex, tally: Tally) -> None:
        """Start before the first item.

        Args:
            plan: the plan of the batch.
            index: the ids that the journal has; ids from the input are added.
            tally: counts skipped items.
        """
        self._plan = plan
        self._index = index
        self._tally = tally
        self._source = Source(plan.items)
        self.waits: bool = self._source.waits
        """Whether reading may wait: the input is an async one."""
        self._position = -1

    async def read(self) -> Question | Rejection | None:
        """Return the next item that the journal doesn't have; None at the end.

        Raises:
            Exception: an error that the input raises.
            ConfigurationError: there is no key for the item.
        """
        while (given := await self._source.read()) is not END:
            self._position += 1
            if met := self._classify(given):
                return met
            self._tally.skipped += 1
            if self._tally.skipped % YIELD_EVERY == 0:
                await anyio.lowlevel.checkpoint()
        return None

    async def aclose(self) -> None:
        """Close the input."""
        await self._source.aclose()

    def _classify(self, given: object) -> Question | Rejection | None:
        """Decide what to do with an item; None to skip it."""
        custom_id, met = self._check(given)
        key, digest = id_digest(custom_id), met.digest or NO_BODY
        known = self._index.get(key)
        if known is None:
            self._index.put(key, digest, SEEN)
            return met
        kept, marks = known
        if marks & SEEN:
            return self._reject(custom_id, given, f"custom_id {custom_id!r} is given twice")
        self._index.put(key, kept, KEPT | SEEN)
        if kept == digest:
            return None
        msg = (
            f"the journal has a different question, model or options for custom_id {custom_id!r}:"
            " give this item another id (or, if that one failed, use again='failed')"
        )
        return self._reject(custom_id, given, msg)

    def _check(self, given: object) -> tuple[str, Question | Rejection]:
        custom_id = str(self._position)
        try:
            custom_id = item_id(given, self._position)
            item = read_item(given, custom_id, self._position, self._plan.model, self._plan.options)
            prepared = self._plan.prepare(item)
        except InvalidRequestError as error:
            return custom_id, Rejection(self._failure(custom_id, given, error), NO_BODY)
        return custom_id, Question(item, prepared, body_digest(prepared.body))

    def _reject(self, custom_id: str, given: object, why: str) -> Rejection:
        error = InvalidRequestError(why)
        return Rejection(self._failure(custom_id, given, error), None)

    def _failure(self, custom_id: str, given: object, error: InvalidRequestError) -> BatchResult:
        # Its frames have the item, which may have a key.
        return BatchResult(custom_id, self._position, error=without_frames(error), item=given)
