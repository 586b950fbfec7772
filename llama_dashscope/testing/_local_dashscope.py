"""`LocalDashScope`: the server, and what a test asks of it."""

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
from llama_dashscope._settings import ApiKey

from ._http_server.admission import AdmissionQueue
from ._http_server.allowed_hosts import AllowedHosts, reachable
from ._http_server.connection import ServerConnection
from ._http_server.listener import Listener
from ._http_server.server_state import ServerState
from ._service.exchange import Exchange
from ._service.faults import DEFAULT_MIX, Fault, Mix
from ._service.received_request import ReceivedRequest
from ._service.rendering import GenerationSpeed
from ._service.response_plan import FOREVER
from ._service.rules import Rules
from ._service.script import Script, Source, When
from ._service.service import API, Service

_LAST_PORT = 65535
_GLANCE = 0.01  # seconds; a frame that goes out is no news to wake anybody for
_SETTLING = 8  # turns of the loop in which it has seen all that had reached its sockets before


@final
class LocalDashScope:
    """A DashScope on this machine: real HTTP on loopback, the service's answers byte for byte.

    It lives on a thread of its own, so it serves sync code, asyncio and trio alike. Use it in a
    `with` or `async with` block, or call `start` and `close`. A browser sees at `origin` what
    is going on.

    Args:
        host: the address to listen on. On any but a loopback address, whoever reaches the port can
            read at the status page what is asked.
        port: the port; 0 for any free one.
        allowed_hosts: names that it is called by, besides loopback names and addresses and `host`;
            `"*"` for any. A request for another name is refused with 421, since it may come from a
            web page that points its own name at this machine (DNS rebinding).
        api_key: the key it accepts; every other is refused with 401.
        models: names it answers for besides the service's Llama models, None for any name.
        tokens_per_second: how fast it speaks; None for as fast as it can.
        first_token_delay: seconds before the first token.
        max_body: the largest request body it takes, in bytes.
        keep: how many of the last exchanges it remembers; fewer where their bodies come to more
            than 256 MB.
        on_end: called with each exchange that is over, on the server's thread.

    Raises:
        ConfigurationError: the port, the key, or a name among `allowed_hosts` can't be one.
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
        if not 0 <= port <= _LAST_PORT:
            raise ConfigurationError(f"port must be from 0 to {_LAST_PORT}, got {port}")
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
        self._hub = ServerState(service, hosts, max_body, keep, on_end)
        self._listener: Listener | None = None

    # lifetime

    def start(self) -> None:
        """Listen and serve, until `close`.

        Raises:
            OSError: the address is not free.
            RuntimeError: it runs already.
        """
        if self._listener:
            msg = "this LocalDashScope runs already"
            raise RuntimeError(msg)
        self._listener = Listener(
            self.host, self._wanted_port, partial(ServerConnection, self._hub), self._hub.drop_all
        )
        self._hub.base_url = self.base_url

    def close(self) -> None:
        """Stop listening and drop every connection; does nothing if it doesn't run."""
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
        """Be gone for a while: open connections drop, new ones are refused, the port stays ours."""
        listener = self._running()
        listener.run(listener.go_down())
        try:
            yield
        finally:
            listener.run(listener.go_up())

    # where it is

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._running().port

    @property
    def origin(self) -> str:
        """Scheme, host and port, as a client on this machine reaches it."""
        host = reachable(self.host)
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}"

    @property
    def base_url(self) -> str:
        """What a client takes for the service's address, as DASHSCOPE_HTTP_BASE_URL holds it."""
        return self.origin + API

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables that lead a DashScope client here."""
        return {"DASHSCOPE_API_KEY": self.api_key, "DASHSCOPE_HTTP_BASE_URL": self.base_url}

    # what it does

    def reply(self, source: Source | Sequence[Source]) -> None:
        """Say what it replies.

        Args:
            source: a text, `Reply`, `ToolCall`, `Raw` or fault, or a function of the request that
                gives one (it may be async, and runs on the server's loop): so it answers every
                call from now on. A list holds one of these for each successive call; when it is
                used up, the standing reply is back.
        """
        self._script.reply(source)

    def fault(self, fault: Fault | Mix, *, times: int | None = 1, when: When | None = None) -> None:
        """Let calls fail. Those that the service itself would refuse don't count.

        Args:
            fault: what happens. A `Mix` stands until `reset` and strikes at its own rate.
            times: how many calls it happens to; None for all.
            when: a function of the request that says whether it may happen to that one.
        """
        self._script.arm(fault, times, when)

    def random_faults(
        self, rate: float, faults: Sequence[Fault] = DEFAULT_MIX, *, seed: int | None = None
    ) -> None:
        """Let some calls fail at random.

        Args:
            rate: the share that fails, `1 / 20` for one in twenty.
            faults: what to draw from.
            seed: the same seed makes the same decisions, call by call.
        """
        self.fault(Mix(rate, faults, seed))

    def reset(self) -> None:
        """Be as new: no scripts, no faults, an empty log; what is being answered breaks off.

        Idle connections stay, so that a client that outlives a test finds its server again.
        """
        self._script.clear()
        if self._listener:
            self._listener.run(self._hub.drop_busy())
            self.wait_idle()
        self._hub.forget()

    # what it saw

    @property
    def exchanges(self) -> list[Exchange]:
        """The last `keep` requests received, with what became of each, oldest first."""
        return self._hub.exchanges()

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests received, oldest first, those it refused included."""
        return [exchange.request for exchange in self.exchanges]

    @property
    def connections_accepted(self) -> int:
        """How many connections were opened to it, since `reset` if that was called."""
        return self._hub.accepted

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return self._hub.open

    @property
    def running(self) -> int:
        """How many requests are being answered now."""
        return self._hub.running

    def wait_idle(self, timeout: float = 5.0) -> None:
        """Wait until no request is being answered.

        Everything that reached the server's sockets before this call is counted.

        Raises:
            TimeoutError: some still are, after `timeout` seconds.
        """
        self.wait_for(lambda server: server.running == 0, timeout)

    async def await_idle(self, timeout: float = 5.0) -> None:
        """Do as `wait_idle`, without blocking the event loop."""
        await anyio.to_thread.run_sync(self.wait_idle, timeout, abandon_on_cancel=True)

    def wait_for(self, holds: Callable[["LocalDashScope"], bool], timeout: float = 5.0) -> None:
        """Wait until something holds, such as `lambda server: server.open_connections == 0`.

        Raises:
            TimeoutError: it doesn't, after `timeout` seconds; the message says what is going on.
        """
        listener = self._running()
        listener.run(_settle(self._hub.turns))
        ends = monotonic() + timeout
        with self._hub.changed:
            while not holds(self):
                if monotonic() >= ends:
                    raise TimeoutError(f"not so within {timeout} s:\n{self.report()}")
                self._hub.changed.wait(_GLANCE)

    async def await_for(
        self,
        holds: Callable[["LocalDashScope"], bool],
        timeout: float = 5.0,
    ) -> None:
        """Do as `wait_for`, without blocking the event loop."""
        await anyio.to_thread.run_sync(self.wait_for, holds, timeout, abandon_on_cancel=True)

    def report(self) -> str:
        """Tell what it saw, a line for each request."""
        counts = f"{self.connections_accepted} connections accepted, {self.open_connections} open"
        return "\n".join([f"{self._hub.requests} requests, {counts}", *map(str, self.exchanges)])

    def _running(self) -> Listener:
        if self._listener is None:
            msg = "this LocalDashScope doesn't run: use it in a with block, or call start()"
            raise RuntimeError(msg)
        return self._listener


async def _settle(turns: AdmissionQueue) -> None:
    turn = 0
    while turn < _SETTLING or turns:  # a few turns
        await asyncio.sleep(0)
        turn += 1
