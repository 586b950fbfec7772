"""`LocalDashScope`: the server, as tests use it."""

import asyncio
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from time import monotonic
from types import TracebackType
from typing import final

import anyio
import anyio.to_thread

from llama_dashscope._errors import ConfigurationError
from llama_dashscope._sanitize import bounded_repr
from llama_dashscope._settings import ApiKey

from ._http_server.admission import AdmissionQueue
from ._http_server.allowed_hosts import AllowedHosts, reachable
from ._http_server.connection import ServerConnection
from ._http_server.listener import Listener
from ._http_server.server_state import ServerState
from ._service.exchange import Exchange
from ._service.faults import DEFAULT_MIX, Fault, Mix
from ._service.field_types import expected_by
from ._service.received_request import ReceivedRequest
from ._service.rendering import GenerationSpeed
from ._service.response_plan import FOREVER
from ._service.rules import Rules
from ._service.script import Script, Source, When
from ._service.service import API, Service

_LAST_PORT = 65535
_POLL_SECONDS = 0.01  # `changed` is not notified for each frame that is sent
_SETTLE_TURNS = 8  # iterations in which the event loop reads all that has reached its sockets


@final
class LocalDashScope:
    """A DashScope on this machine: real HTTP on loopback, the service's answers byte for byte.

    It runs in its own thread, so it serves sync code, asyncio and trio. Use it in a `with` or
    `async with` block, or call `start` and `close`. Open `origin` in a browser to see the requests.

    Args:
        host: the address to listen on. If it is not a loopback address, anyone who can reach the
            port can read the requests on the status page.
        port: the port; 0 for any free one.
        allowed_hosts: names of the server, in addition to `host` and loopback names and addresses;
            `"*"` for any. A request with another name in its Host header is refused with 421, since
            it may come from a web page that points its own name at this machine (DNS rebinding).
        api_key: the key that it accepts; any other is refused with 401.
        models: accepted model names, in addition to the service's Llama models; None for any name.
        tokens_per_second: the speed of answers; None for as fast as possible.
        first_token_delay: seconds before the first token.
        max_body: the largest accepted request body, in bytes.
        keep: how many of the latest exchanges are kept; fewer if their bodies exceed 256 MB.
        on_end: called with each exchange that has ended, in the server's thread.

    Raises:
        ConfigurationError: an argument is invalid; the message names it.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        allowed_hosts: Collection[str] = (),
        api_key: str = "sk-local",
        models: Collection[str] | None = (),
        tokens_per_second: float | None = None,
        first_token_delay: float = 0.0,
        max_body: int = 8 * 1024 * 1024,
        keep: int = 10_000,
        on_end: Callable[[Exchange], None] | None = None,
    ) -> None:
        for name, kind, value in (
            ("host", str, host),
            ("allowed_hosts", Collection[str], allowed_hosts),
            ("models", Collection[str] | None, models),
            ("tokens_per_second", float | None, tokens_per_second),
            ("first_token_delay", float, first_token_delay),
            ("max_body", int, max_body),
            ("keep", int, keep),
            ("on_end", Callable[[Exchange], None] | None, on_end),
        ):
            if expected := expected_by(kind, value):
                shown = bounded_repr(value)
                raise ConfigurationError(f"{name} must be {expected}, got {shown}")
        if expected_by(int, port) or port > _LAST_PORT:
            shown = bounded_repr(port)
            raise ConfigurationError(f"port must be from 0 to {_LAST_PORT}, got {shown}")
        self.host: str = host
        self.api_key: str = ApiKey(api_key).reveal()
        self._wanted_port = port
        self._script = Script()
        service = Service(
            Rules((api_key,), models),
            self._script,
            GenerationSpeed(tokens_per_second or FOREVER, first_token_delay),
        )
        hosts = AllowedHosts(host, allowed_hosts)
        self._state = ServerState(service, hosts, max_body, keep, on_end)
        self._listener: Listener | None = None

    # lifetime

    def start(self) -> None:
        """Listen and serve, until `close`.

        Raises:
            OSError: the address is in use or can't be used.
            RuntimeError: it is already running.
        """
        if self._listener:
            msg = "this LocalDashScope is already running"
            raise RuntimeError(msg)
        self._listener = Listener(
            self.host,
            self._wanted_port,
            partial(ServerConnection, self._state),
            self._state.drop_all,
        )
        self._state.base_url = self.base_url

    def close(self) -> None:
        """Stop listening and drop every connection; does nothing if it isn't running."""
        listener, self._listener = self._listener, None
        if listener:
            listener.close()

    def __enter__(self) -> "LocalDashScope":
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> "LocalDashScope":
        await anyio.to_thread.run_sync(self.start)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.close)

    @contextmanager
    def down(self) -> Generator[None]:
        """Within the block, drop open connections and refuse new ones; the port stays reserved."""
        listener = self._running()
        listener.run(listener.go_down())
        try:
            yield
        finally:
            listener.run(listener.go_up())

    # addresses

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._running().port

    @property
    def origin(self) -> str:
        """Scheme, host and port, for clients on this machine."""
        host = reachable(self.host)
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}"

    @property
    def base_url(self) -> str:
        """The base URL for clients, and the value for DASHSCOPE_HTTP_BASE_URL."""
        return self.origin + API

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables that direct a DashScope client to this server."""
        return {"DASHSCOPE_API_KEY": self.api_key, "DASHSCOPE_HTTP_BASE_URL": self.base_url}

    # replies and faults

    def reply(self, source: Source | Sequence[Source]) -> None:
        """Set the reply to calls.

        Args:
            source: a text, `Reply`, `ToolCall`, `Raw` or fault, or a function of the request that
                returns one (it may be async, and runs in the server's event loop). It answers every
                call from now on. A list has one of these for each of the next calls; after these
                the previous reply is used again.

        Raises:
            ValueError: it is none of these.
        """
        self._script.reply(source)

    def fault(self, fault: Fault | Mix, *, times: int | None = 1, when: When | None = None) -> None:
        """Make calls fail. Calls that the service itself would refuse don't count.

        Args:
            fault: the fault. A `Mix` lasts until `reset` and happens at its own rate.
            times: how many calls are affected; None for all.
            when: a function that returns for a request whether it may be affected.

        Raises:
            ValueError: an argument is of another type.
        """
        self._script.arm(fault, times, when)

    def random_faults(
        self, rate: float, faults: Sequence[Fault] = DEFAULT_MIX, *, seed: int | None = None
    ) -> None:
        """Make some calls fail at random.

        Args:
            rate: the share of calls that fail, `1 / 20` for one in twenty.
            faults: the faults to choose from.
            seed: the same seed makes the same choices, call by call.

        Raises:
            ValueError: the rate is not from 0 to 1, or there is no fault.
        """
        self.fault(Mix(rate, faults, seed))

    def reset(self) -> None:
        """Remove scripts and faults, empty the log, and break off answers in progress.

        Idle connections stay open, so that a client that outlives a test can go on using them.
        """
        self._script.clear()
        if self._listener:
            self._listener.run(self._state.drop_busy())
            self.wait_idle()
        self._state.forget()

    # the log

    @property
    def exchanges(self) -> list[Exchange]:
        """The last `keep` requests received, each with its outcome, oldest first."""
        return self._state.exchanges()

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests received, oldest first, including refused ones."""
        return [exchange.request for exchange in self.exchanges]

    @property
    def connections_accepted(self) -> int:
        """How many connections were opened, since the last `reset`."""
        return self._state.accepted

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return self._state.open

    @property
    def running(self) -> int:
        """How many requests are being answered now."""
        return self._state.running

    def wait_idle(self, timeout: float = 5.0) -> None:
        """Wait until no request is being answered.

        Everything that reached the server's sockets before this call is taken into account.

        Raises:
            TimeoutError: requests are still being answered after `timeout` seconds.
        """
        self.wait_for(lambda server: server.running == 0, timeout)

    async def await_idle(self, timeout: float = 5.0) -> None:
        """Do the same as `wait_idle`, without blocking the event loop."""
        await anyio.to_thread.run_sync(self.wait_idle, timeout, abandon_on_cancel=True)

    def wait_for(self, holds: Callable[["LocalDashScope"], bool], timeout: float = 5.0) -> None:
        """Wait for a condition, such as `lambda server: server.open_connections == 0`.

        Raises:
            TimeoutError: it is not met after `timeout` seconds; the message has the report.
        """
        listener = self._running()
        listener.run(_settle(self._state.turns))
        ends = monotonic() + timeout
        with self._state.changed:
            while not holds(self):
                if monotonic() >= ends:
                    raise TimeoutError(f"condition not met within {timeout} s:\n{self.report()}")
                self._state.changed.wait(_POLL_SECONDS)

    async def await_for(
        self,
        holds: Callable[["LocalDashScope"], bool],
        timeout: float = 5.0,
    ) -> None:
        """Do the same as `wait_for`, without blocking the event loop."""
        await anyio.to_thread.run_sync(self.wait_for, holds, timeout, abandon_on_cancel=True)

    def report(self) -> str:
        """Return the counts, and one line for each request."""
        counts = f"{self.connections_accepted} connections accepted, {self.open_connections} open"
        return "\n".join([f"{self._state.requests} requests, {counts}", *map(str, self.exchanges)])

    def _running(self) -> Listener:
        if self._listener is None:
            msg = "this LocalDashScope isn't running: use it in a with block, or call start()"
            raise RuntimeError(msg)
        return self._listener


async def _settle(turns: AdmissionQueue) -> None:
    turn = 0
    while turn < _SETTLE_TURNS or turns:
        await asyncio.sleep(0)
        turn += 1
