"""Sends one answer: head, pieces and pauses in their time, chunked, gzipped, dripped or cut."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from . import _http
from ._answer import FOREVER, Answer, Cut, Pause, Piece, Step
from ._exchange import Exchange

_BREATH = 32  # after so many pieces that had no pace, other connections get a turn


class Sender:
    """Sends `answer` through `transport`, which is `writable` unless its buffer is full."""

    def __init__(
        self,
        transport: asyncio.Transport,
        writable: asyncio.Event,
        answer: Answer,
        exchange: Exchange,
    ) -> None:
        self._transport, self._writable = transport, writable
        self._answer, self._exchange = answer, exchange
        self._pending = answer.head
        self._gzip = _http.GzipStream() if answer.gzip else None
        self._late = answer.delay
        self.complete = True
        """False once a fault has ended the answer."""

    async def send(self) -> Cut:
        """Send everything and say how it ended."""
        how = self._answer.end
        async with aclosing(_steps(self._answer)) as steps:
            async for step in steps:
                if isinstance(step, Piece):
                    await self._send_piece(step)
                elif isinstance(step, Pause):
                    await self._pause(step.seconds)
                else:
                    how, self.complete = step.how, False
                    break
        await self._write(self._closing(how))
        if how == "hang":
            await _sleep(FOREVER)
        return how

    async def _send_piece(self, piece: Piece) -> None:
        await _sleep_until(self._exchange.started + self._late + piece.at)
        data = piece.data
        if self._gzip:
            data = self._gzip.send(data)
        await self._write(_http.chunk(data) if self._answer.streamed else data)
        self._exchange.pieces_sent += 1
        if self._exchange.pieces_sent % _BREATH == 0:
            await asyncio.sleep(0)

    async def _pause(self, seconds: float) -> None:
        await self._write(b"")
        self._late += seconds
        await _sleep(seconds)

    def _closing(self, how: Cut) -> bytes:
        if how != "clean" or not self._answer.streamed:
            return b""
        rest = self._gzip.end() if self._gzip else b""
        return _http.chunk(rest) + _http.LAST_CHUNK

    async def _write(self, data: bytes) -> None:
        if self._pending:
            self._exchange.status = self._answer.status
            data, self._pending = self._pending + data, b""
        if self._answer.drip:
            size, seconds = self._answer.drip
            for start in range(0, len(data), size):
                self._transport.write(data[start : start + size])
                await _sleep(seconds)
        elif data and not self._transport.is_closing():  # asyncio would log what it can't send
            self._transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()


async def _sleep_until(when: float) -> None:
    seconds = when - asyncio.get_running_loop().time()
    if seconds > 0:
        await _sleep(seconds)


async def _sleep(seconds: float) -> None:
    if seconds == FOREVER:
        await asyncio.get_running_loop().create_future()
    else:
        await asyncio.sleep(seconds)


async def _steps(answer: Answer) -> AsyncGenerator[Step, None]:
    index = 0
    if isinstance(answer.pieces, AsyncGenerator):
        async with aclosing(answer.pieces) as pieces:
            async for piece in pieces:
                for step in answer.edit(index, piece):
                    yield step
                index += 1
    else:
        for index, piece in enumerate(answer.pieces):
            for step in answer.edit(index, piece):
                yield step
