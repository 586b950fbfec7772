"""The state that a server's connections share: the service, the log and the counters."""

import itertools
import threading
import uuid
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from llama_dashscope.testing._http_server import status_page
from llama_dashscope.testing._service import responses
from llama_dashscope.testing._service.exchange import Exchange
from llama_dashscope.testing._service.received_request import ReceivedRequest, printable
from llama_dashscope.testing._service.response_plan import ResponsePlan
from llama_dashscope.testing._service.rules import Refusal
from llama_dashscope.testing._service.service import Service

from .admission import AdmissionQueue
from .allowed_hosts import AllowedHosts
from .connection import ServerConnection
from .http1 import Incoming

_MAX_KEPT_BYTES = 256 * 1024 * 1024
"""Most bytes of request bodies that the log keeps."""


class ServerState:
    """Written in the server's thread, read in any; `changed` is notified of changes."""

    def __init__(
        self,
        service: Service,
        hosts: AllowedHosts,
        max_body: int,
        keep: int,
        on_end: Callable[[Exchange], None] | None,
    ) -> None:
        self.max_body = max_body
        self.changed = threading.Condition()
        self.turns = AdmissionQueue()
        self.base_url = ""
        self.accepted = self.requests = self.running = self.faults_met = 0
        self._numbers = itertools.count(1)
        self._service, self._hosts, self._on_end = service, hosts, on_end
        self._connections: set[ServerConnection] = set()
        self._keep, self._kept_bytes = keep, 0
        self._exchanges: deque[Exchange] = deque()

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def exchanges(self) -> list[Exchange]:
        """Return a copy of the log."""
        with self.changed:
            return list(self._exchanges)

    def forget(self) -> None:
        """Empty the log and reset the counters."""
        with self.changed:
            self.accepted = self.requests = self.faults_met = self._kept_bytes = 0
            self._exchanges.clear()

    async def drop_busy(self) -> None:
        """Drop the connections on which an answer is being sent."""
        for connection in tuple(self._connections):
            if connection.busy:
                connection.abort()

    def drop_all(self) -> None:
        """Drop every connection; call it in the server's loop."""
        for connection in tuple(self._connections):
            connection.abort()

    def opened(self, connection: ServerConnection) -> int:
        """Register a new connection and return its number."""
        with self.changed:
            self.accepted += 1
            self._connections.add(connection)
            self.changed.notify_all()
            return next(self._numbers)

    def closed(self, connection: ServerConnection) -> None:
        """Unregister a closed connection."""
        with self.changed:
            self._connections.discard(connection)
            self.changed.notify_all()

    def in_turn(self, function: Callable[[], None]) -> None:
        """Call a function, now or after those that were queued before."""
        self.turns.take(function)

    def received(self, connection: int, incoming: Incoming, started: float) -> Exchange:
        """Register a request; those for the status page have the number 0 and are not counted."""
        if status_page.serves(incoming.method, incoming.target):
            return Exchange(_request(0, connection, incoming), started=started)
        with self.changed:
            self.requests += 1
            self.running += 1
            request = _request(self.requests, connection, incoming)
            exchange = Exchange(request, started=started)
            self._remember(exchange)
            self.changed.notify_all()
            return exchange

    def _remember(self, exchange: Exchange) -> None:
        self._exchanges.append(exchange)
        if len(self._exchanges) > status_page.SHOWN:
            self._exchanges[-status_page.SHOWN - 1].answer = None
        self._kept_bytes += len(exchange.request.body)
        while len(self._exchanges) > self._keep or (
            self._kept_bytes > _MAX_KEPT_BYTES and len(self._exchanges) > 1
        ):
            self._kept_bytes -= len(self._exchanges.popleft().request.body)

    def ended(self, exchange: Exchange) -> None:
        """Register the end of an exchange."""
        if exchange.request.number == 0:
            return
        with self.changed:
            self.running -= 1
            self.faults_met += exchange.fault is not None
            self.changed.notify_all()
        if self._on_end:
            self._call_on_end(self._on_end, exchange)
        exchange.request.shrink()

    @staticmethod
    def _call_on_end(on_end: Callable[[Exchange], None], exchange: Exchange) -> None:
        try:
            on_end(exchange)
        except Exception as error:  # noqa: BLE001 - of the user's function; the server continues
            exchange.error = error

    async def answer(self, exchange: Exchange) -> ResponsePlan:
        """Return the status page, or the service's answer."""
        request = exchange.request
        host = request.headers.get("host")
        if not self._hosts.allows(host):
            return responses.refusal(request, _misdirected(str(host)), str(uuid.uuid4()))
        if request.number == 0:
            return status_page.answer(request, self._status, self.exchanges)
        return await self._service.answer(exchange)

    def _status(self) -> dict[str, Any]:
        return {
            "base_url": self.base_url,
            "requests": self.requests,
            "running": self.running,
            "faults_met": self.faults_met,
            "open_connections": self.open,
            "connections_accepted": self.accepted,
            "faults": self._service.script.waiting(),
            "exchanges": status_page.newest(self.exchanges()),
        }


def _misdirected(host: str) -> Refusal:
    return Refusal(
        HTTPStatus.MISDIRECTED_REQUEST,
        "MisdirectedRequest",
        f"{printable(host)!r} is not a name of this server. If it should be, allow it by "
        "LocalDashScope(allowed_hosts=...) or serve --allow-host.",
        before_model=True,
    )


def _request(number: int, connection: int, incoming: Incoming) -> ReceivedRequest:
    return ReceivedRequest(
        number,
        connection,
        incoming.method,
        incoming.target,
        incoming.headers,
        incoming.body,
        incoming.version,
    )
