"""Sends one answer by its plan: head, pieces and pauses; chunked, gzipped, dripped or cut."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterable
from contextlib import aclosing
from time import monotonic

from llama_dashscope.testing._http_server import http1
from llama_dashscope.testing._service.exchange import Exchange
from llama_dashscope.testing._service.response_plan import (
    FOREVER,
    BodyPart,
    End,
    Ending,
    Pause,
    ResponsePlan,
)

_YIELD_EVERY = 32  # after this many pieces, other connections get a turn


class ResponseWriter:
    """Sends `answer` through `transport`; `writable` is set unless the transport's buffer is full.

    Hundreds of these may wait for their next frame at once, so few objects are used per wait: each
    generator and coroutine prolongs garbage collection, which delays frames.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        writable: asyncio.Event,
        answer: ResponsePlan,
        exchange: Exchange,
    ) -> None:
        self._transport, self._writable = transport, writable
        self._answer, self._exchange = answer, exchange
        self._pending = (
            http1.head(answer.status, answer.headers)
            if answer.raw_head is None
            else answer.raw_head
        )
        self._gzip = http1.GzipStream() if answer.gzip else None
        self._late = answer.delay
        self.complete = True
        """False once a fault has ended the answer."""

    async def send(self) -> Ending:
        """Send everything and return how it ended."""
        pieces = self._answer.pieces
        if isinstance(pieces, AsyncGenerator):
            cut = await self._send_as_they_come(pieces)
        else:
            cut = await self._send_pieces(pieces)
        how, self.complete = cut or self._answer.end, cut is None
        await self._write(self._closing(how))
        if how == "hang":
            await _sleep(FOREVER)
        return how

    async def _send_as_they_come(self, pieces: AsyncGenerator[BodyPart, None]) -> Ending | None:
        index = 0
        async with aclosing(pieces):
            async for piece in pieces:
                if cut := await self._send_pieces([piece], index):
                    return cut
                index += 1
        return None

    async def _send_pieces(self, pieces: Iterable[BodyPart], first: int = 0) -> Ending | None:
        """Send pieces at their times; if a fault ends them, return how."""
        for index, piece in enumerate(pieces, first):
            for step in self._answer.edit(index, piece):
                if isinstance(step, End):
                    return step.how
                if isinstance(step, Pause):
                    await self._write(b"")
                    self._late += step.seconds
                    await _sleep(step.seconds)
                    continue
                seconds = self._exchange.started + self._late + step.at - monotonic()
                if seconds > 0:
                    await _sleep(seconds)
                await self._write(self._framed(step.data))
                self._exchange.sent(step)
                if self._exchange.pieces_sent % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
        return None

    def _framed(self, data: bytes) -> bytes:
        if self._gzip:
            data = self._gzip.send(data)
        return http1.chunk(data) if self._answer.streamed else data

    def _closing(self, how: Ending) -> bytes:
        if how != "clean" or not self._answer.streamed:
            return b""
        rest = self._gzip.end() if self._gzip else b""
        return http1.chunk(rest) + http1.LAST_CHUNK

    async def _write(self, data: bytes) -> None:
        if self._pending:
            self._exchange.status = self._answer.status
            data, self._pending = self._pending + data, b""
        if self._answer.drip:
            size, seconds = self._answer.drip
            for start in range(0, len(data), size):
                self._transport.write(data[start : start + size])
                await _sleep(seconds)
        elif data and not self._transport.is_closing():  # asyncio would log the failed write
            self._transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()


def _sleep(seconds: float) -> Awaitable[object]:
    loop = asyncio.get_running_loop()
    return loop.create_future() if seconds == FOREVER else asyncio.sleep(seconds)
