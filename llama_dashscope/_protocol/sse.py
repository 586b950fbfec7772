"""A decoder of server-sent events, as the service sends them.

Differences from the standard (https://html.spec.whatwg.org/multipage/server-sent-events.html): the
HTTP status of a frame is in a comment line, `:HTTP_STATUS/400`; the blank line between frames may
be missing; the last frame counts even if no blank line follows. Only CR, LF and CRLF end a line;
U+2028 and the like are text.
"""

import re
from typing import Final

import attrs

__all__ = ["BOM", "ERROR_STATUS", "Decoder", "EventTooLargeError", "ServerSentEvent"]

CR: Final = b"\r"
ERROR_STATUS: Final = 400
"""HTTP statuses from here on are errors."""

BOM: Final = b"\xef\xbb\xbf"
# The form of nearly all recorded events: they are read by this one pattern if there is no CR.
USUAL: Final = re.compile(rb"id:\d+\nevent:result\n:HTTP_STATUS/200\ndata:(\{.*)\n\n")
# Right after a "}" none of these can continue a JSON value, so they begin a new frame.
FRAME_STARTS: Final = (b"{", b"[DONE]")
# In a comment, with or without a reason phrase; the official SDKs also accept `status:200`.
STATUS: Final = re.compile(rb":?\s*(?:HTTP_STATUS/|status:)\s*(\d{3})\b")


@attrs.define
class ServerSentEvent:
    """One frame of a stream."""

    data: bytes
    """Its `data:` lines, joined by line feeds."""
    name: str
    """Its `event:` field; empty if it has none."""
    status: int | None
    """The HTTP status that the frame names; None if it names none."""


class EventTooLargeError(ValueError):
    """A frame is larger than the limit; `events` are the complete ones before it."""

    events: list[ServerSentEvent]


class Decoder:
    """Splits a byte stream into events, however the bytes are divided on arrival.

    Args:
        max_size: the largest event in bytes.
    """

    __slots__ = (
        "_after_cr",
        "_data",
        "_line",
        "_line_size",
        "_max",
        "_name",
        "_size",
        "_start",
        "_status",
    )

    def __init__(self, max_size: int = 1 << 20) -> None:
        """Start at the beginning of a stream."""
        self._max = max_size
        self._start = True
        self._after_cr = False
        self._line: list[bytes] = []
        self._line_size = 0
        self._reset()

    def _reset(self) -> None:
        self._data: list[bytes] = []
        self._size = 0
        self._name = ""
        self._status: int | None = None

    def feed(self, received: bytes) -> list[ServerSentEvent]:
        """Return the events that these bytes complete.

        Raises:
            EventTooLargeError: an event is larger than the limit.
        """
        events: list[ServerSentEvent] = []
        try:
            between = self._between_events()
            if not between:
                # To the end of the unfinished event, or of these bytes.
                end = received.find(b"\n\n") + 2
                here = received[:end] if end > 1 else received
                self._feed_lines(here, events)
                received = received[len(here) :]
                between = self._between_events()
            if between and CR not in received:
                received = received[self._feed_usual(received, events) :]
            if received:
                self._feed_lines(received, events)
        except EventTooLargeError as error:
            error.events = events
            raise
        return events

    def _between_events(self) -> bool:
        pending = self._name or self._status or self._data or self._line
        return not (pending or self._after_cr or self._start)

    def _feed_usual(self, received: bytes, events: list[ServerSentEvent]) -> int:
        """Read complete events of the usual form at the beginning; return their length in bytes."""
        taken, most = 0, self._max - len(b"data:")
        while usual := USUAL.match(received, taken):
            data = usual[1]
            if len(data) > most:
                raise self._too_large()
            events.append(ServerSentEvent(data, "result", 200))
            taken = usual.end()
        return taken

    def _feed_lines(self, received: bytes, events: list[ServerSentEvent]) -> None:
        """Read events of any form, line by line."""
        if self._after_cr and received:
            received = received.removeprefix(b"\n")
            self._after_cr = False
        if not received:
            return
        lines = received.splitlines()
        ended = received[-1] in b"\r\n"
        rest = b"" if ended else lines.pop()
        self._after_cr = received.endswith(CR)
        if lines:
            self._end_line(lines)
        for line in lines:
            self._take(line, events)
        if rest:
            self._line.append(rest)
            self._line_size += len(rest)
            self._check(self._line_size)

    def _end_line(self, lines: list[bytes]) -> None:
        """Prepend what had already arrived of the first line."""
        if self._line:
            lines[0] = b"".join([*self._line, lines[0]])
            self._line.clear()
            self._line_size = 0

    def finish(self) -> list[ServerSentEvent]:
        """End the stream; return the last event, perhaps cut short, if there is one."""
        events: list[ServerSentEvent] = []
        if self._line:
            self._take(b"".join(self._line), events)
            self._line.clear()
        self._dispatch(events)
        return events

    def _take(self, line: bytes, events: list[ServerSentEvent]) -> None:
        self._check(len(line))
        if self._start:
            self._start = False
            line = line.removeprefix(BOM)
        if line.startswith(b"data:"):
            self._add_data(line[6:] if line.startswith(b"data: ") else line[5:], events)
        elif not line:
            self._dispatch(events)
        elif line == b"data":
            self._add_data(b"", events)
        elif line.startswith(b"id:"):
            self._begin(events)
        elif line.startswith(b"event:"):
            self._begin(events)
            self._name = line[6:].decode("utf-8", "replace").strip()
        elif status := STATUS.match(line):
            self._begin(events)
            self._status = int(status[1])

    def _add_data(self, value: bytes, events: list[ServerSentEvent]) -> None:
        if self._data and self._is_whole() and value.lstrip().startswith(FRAME_STARTS):
            self._dispatch(events)
        self._data.append(value)
        self._size += len(value) + 1

    def _is_whole(self) -> bool:
        return self._data[-1].rstrip().endswith(b"}")

    def _begin(self, events: list[ServerSentEvent]) -> None:
        """End the previous frame if no blank line has ended it."""
        if self._data:
            self._dispatch(events)

    def _dispatch(self, events: list[ServerSentEvent]) -> None:
        """Emit the current event, unless it is only a heartbeat."""
        refused = self._name == "error" or (self._status or 0) >= ERROR_STATUS
        if self._data or refused:
            data = b"\n".join(self._data)
            events.append(ServerSentEvent(data, self._name, self._status))
            self._reset()
        elif self._name or self._status:
            self._reset()

    def _check(self, line_size: int) -> None:
        """Raise if a line makes its event too large."""
        if self._size + line_size > self._max:
            raise self._too_large()

    def _too_large(self) -> EventTooLargeError:
        return EventTooLargeError(f"a frame of the stream is larger than {self._max} bytes")
