"""Reading the input of a batch: what is to be asked, what the journal has, what can't be asked."""

from typing import Final

import anyio.lowlevel
import attrs

from llama_dashscope._errors import InvalidRequestError

from .digest_index import DigestIndex, body_digest, id_digest
from .items import BatchItem, item_id, read_item
from .journal import KEPT
from .plan import BatchPlan, PreparedItem
from .results import BatchResult
from .source import END, Source
from .summary import Tally

__all__ = ["Intake", "Question", "Rejection"]

MET: Final = 2
"""Mark of an id that the input had in this run."""

BREATH: Final = 64
"""Items that are skipped in a row before other tasks have their turn."""

NO_BODY: Final = body_digest(b"")


@attrs.frozen
class Question:
    """An item that is to be asked."""

    item: BatchItem
    prepared: PreparedItem
    digest: bytes
    """What stands for its request body."""


@attrs.frozen
class Rejection:
    """An item that can't be asked."""

    result: BatchResult
    digest: bytes | None
    """What stands for its request body; None where its id belongs to another item's line."""


class Intake:
    """Reads items one by one and sorts them."""

    def __init__(self, plan: BatchPlan, index: DigestIndex, tally: Tally) -> None:
        """Begin before the first item.

        Args:
            plan: whose items.
            index: the ids that the journal keeps; those that are met are added.
            tally: where to count what is skipped.
        """
        self._plan = plan
        self._index = index
        self._tally = tally
        self._source = Source(plan.items)
        self._position = -1

    async def read(self) -> Question | Rejection | None:
        """Read on to the next item that the journal doesn't have; None at the end.

        Raises:
            Exception: whatever the input raises.
            ConfigurationError: there is no key for the item.
        """
        while (given := await self._source.read()) is not END:
            self._position += 1
            if met := self._sort(given):
                return met
            self._tally.skipped += 1
            if self._tally.skipped % BREATH == 0:
                await anyio.lowlevel.checkpoint()
        return None

    async def aclose(self) -> None:
        """Let go of the input."""
        await self._source.aclose()

    def _sort(self, given: object) -> Question | Rejection | None:
        """Say what is to become of an item; None where there is nothing to do."""
        custom_id, met = self._check(given)
        key, digest = id_digest(custom_id), met.digest or NO_BODY
        known = self._index.get(key)
        if known is None:
            self._index.put(key, digest, MET)
            return met
        kept, marks = known
        if marks & MET:
            return self._reject(custom_id, given, f"custom_id {custom_id!r} is given twice")
        self._index.put(key, kept, KEPT | MET)
        if kept == digest:
            return None
        msg = (
            f"the journal has another question under custom_id {custom_id!r}: give this one"
            " another id (or, where that one failed, have it asked again by again='failed')"
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
        return BatchResult(custom_id, self._position, error=error, item=given)
