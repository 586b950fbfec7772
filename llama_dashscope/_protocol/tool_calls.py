"""Merges the tool calls of one answer from the pieces that a stream sends.

Pieces are matched by `index` or by `id`. If the service sends neither, they are matched by order: a
piece with a new id or name starts a call, a piece without continues the last one.
"""

from collections.abc import Sequence

import attrs

from llama_dashscope._models import ToolCall

from .deltas import TextAccumulator

__all__ = ["ToolCallAccumulator"]


class ToolCallAccumulator:
    """Merges the tool calls of one answer.

    Args:
        incremental: whether pieces were requested (`incremental_output`).
    """

    def __init__(self, *, incremental: bool | None) -> None:
        """Start without calls."""
        self._incremental = incremental
        self._calls: list[_GrowingCall] = []
        self._by_id: dict[str, _GrowingCall] = {}
        self._by_index: dict[int, _GrowingCall] = {}

    def take(self, pieces: Sequence[ToolCall], *, last: bool) -> None:
        """Add the pieces of one frame; `last` says whether the frame ends the answer."""
        for place, piece in enumerate(pieces):
            call = self._find(piece, None if len(pieces) == 1 else place) or self._open()
            call.take(piece, last=last)
            if piece.id:
                self._by_id.setdefault(piece.id, call)
            if piece.index is not None:
                self._by_index[piece.index] = call

    def whole(self) -> tuple[ToolCall, ...]:
        """Return the calls, sorted by index if all have distinct ones, else in order of arrival."""
        calls = [call.whole() for call in self._calls]
        places = {call.index for call in calls}
        if None not in places and len(places) == len(calls):
            calls.sort(key=lambda call: call.index or 0)
        return tuple(calls)

    def _open(self) -> "_GrowingCall":
        self._calls.append(made := _GrowingCall(incremental=self._incremental))
        return made

    def _find(self, piece: ToolCall, place: int | None) -> "_GrowingCall | None":
        """Find the call that a piece continues; None if it starts a new one.

        Args:
            piece: the piece.
            place: its position among the pieces of its frame; None if it is the only one.
        """
        if piece.id in self._by_id:
            return self._by_id[piece.id]
        if piece.index is not None:
            known = self._by_index.get(piece.index)
        elif place is None or piece.id:
            known = self._calls[-1] if self._calls else None
        else:
            known = self._calls[place] if place < len(self._calls) else None
        return None if known is None or known.is_followed_by(piece) else known


class _GrowingCall:
    """One tool call as it arrives: its name comes once, its arguments grow."""

    def __init__(self, *, incremental: bool | None) -> None:
        self._call = ToolCall(type="")  # has only the arguments of the latest piece
        self._arguments = TextAccumulator(incremental=incremental)

    def is_followed_by(self, piece: ToolCall) -> bool:
        """Tell whether a piece that could continue this call starts another one."""
        known, name = self._call, piece.function.name
        if piece.id and known.id:  # both have one, and they differ
            return bool(name) or piece.index is None
        if not name or not known.function.name:
            return False
        if name != known.function.name:
            return True
        before, text = known.function.arguments, piece.function.arguments
        return before.endswith("}") and text.startswith("{") and not text.startswith(before)

    def take(self, piece: ToolCall, *, last: bool) -> None:
        """Add a piece."""
        self._arguments.take(piece.function.arguments, last=last)
        known = self._call
        function = attrs.evolve(
            known.function,
            name=known.function.name or piece.function.name,
            arguments=piece.function.arguments,
            extra={**known.function.extra, **piece.function.extra},
        )
        self._call = attrs.evolve(
            known,
            function=function,
            index=piece.index if known.index is None else known.index,
            id=known.id or piece.id,
            type=known.type or piece.type,
            extra={**known.extra, **piece.extra},
        )

    def whole(self) -> ToolCall:
        """Return what has arrived of the call."""
        function = attrs.evolve(self._call.function, arguments=self._arguments.whole())
        return attrs.evolve(self._call, function=function, type=self._call.type or "function")
