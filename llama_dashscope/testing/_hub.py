"""What all connections of a server share: the service that answers, the log, the counters."""

import itertools
import threading
from collections import deque

from ._answer import Answer
from ._connection import Connection
from ._exchange import Exchange
from ._http import Incoming
from ._request import ReceivedRequest
from ._service import Service


class Hub:
    """Written by the loop's thread, read by any; `changed` tells of every change."""

    def __init__(self, service: Service, max_body: int, keep: int) -> None:
        self.max_body = max_body
        self.changed = threading.Condition()
        self.accepted = self.requests = self.running = 0
        self._numbers = itertools.count(1)
        self._service = service
        self._connections: set[Connection] = set()
        self._exchanges: deque[Exchange] = deque(maxlen=keep)

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def exchanges(self) -> list[Exchange]:
        """Copy the log."""
        with self.changed:
            return list(self._exchanges)

    def forget(self) -> None:
        """Empty the log and count from 0 again."""
        with self.changed:
            self.accepted = self.requests = 0
            self._exchanges.clear()

    async def drop_busy(self) -> None:
        """Drop the connections that are being answered on."""
        for connection in tuple(self._connections):
            if connection.busy:
                connection.abort()

    def drop_all(self) -> None:
        """Drop every connection; call it on the loop."""
        for connection in tuple(self._connections):
            connection.abort()

    def opened(self, connection: Connection) -> int:
        """Note a new connection and give it its number."""
        with self.changed:
            self.accepted += 1
            self._connections.add(connection)
            self.changed.notify_all()
            return next(self._numbers)

    def closed(self, connection: Connection) -> None:
        """Note that it is gone."""
        with self.changed:
            self._connections.discard(connection)
            self.changed.notify_all()

    def received(self, connection: int, incoming: Incoming) -> Exchange:
        """Note a request."""
        with self.changed:
            self.requests += 1
            self.running += 1
            request = ReceivedRequest(
                self.requests,
                connection,
                incoming.method,
                incoming.target,
                incoming.headers,
                incoming.body,
                incoming.version,
            )
            exchange = Exchange(request)
            self._exchanges.append(exchange)
            self.changed.notify_all()
            return exchange

    def ended(self, exchange: Exchange) -> None:
        """Note that an exchange is over."""
        del exchange
        with self.changed:
            self.running -= 1
            self.changed.notify_all()

    async def answer(self, exchange: Exchange) -> Answer:
        """Let the service decide what becomes of a request."""
        return await self._service.answer(exchange)
