"""Reaching a host with several addresses: order, head start, and nothing left open."""

from __future__ import annotations

import math
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from attrs import define

from llama_dashscope._network.asyncio_backend import happy_eyeballs
from llama_dashscope._network.asyncio_backend.happy_eyeballs import connect_happy_eyeballs

pytestmark = pytest.mark.anyio

SIX_A, SIX_B, FOUR_A, FOUR_B = "2001:db8::a", "2001:db8::b", "192.0.2.1", "192.0.2.2"


@define
class Connection:
    """A connection that knows whether it was given up."""

    address: str
    aborted: bool = False

    def abort(self) -> None:
        """Give it up."""
        self.aborted = True


class Network:
    """Addresses that answer, refuse or say nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.given_up: list[str] = []
        self.opened: list[Connection] = []
        self.behaviour: dict[str, Callable[[], Awaitable[object]]] = {}

    async def connect(self, address: str) -> Connection:
        """Do what this address does; without anything to do it refuses."""
        self.asked.append(address)
        if address not in self.behaviour:
            raise ConnectionRefusedError(address)
        try:
            await self.behaviour[address]()
        except BaseException:
            self.given_up.append(address)
            raise
        self.opened.append(Connection(address))
        return self.opened[-1]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """Let a name stand for four addresses, and waiting take no time."""

    async def look_up(host: str, port: int, **_: Any) -> list[Any]:
        assert (host, port) == ("example.com", 443)
        six = [(socket.AF_INET6, 1, 6, "", (each, port, 0, 0)) for each in (SIX_A, SIX_A, SIX_B)]
        return six + [(socket.AF_INET, 1, 6, "", (each, port)) for each in (FOUR_A, FOUR_B)]

    monkeypatch.setattr(anyio, "getaddrinfo", look_up)
    monkeypatch.setattr(happy_eyeballs, "HEAD_START", 0)
    return Network()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_an_address(network: Network, address: str) -> None:
    """An address is no name: nobody is asked for it, and its failure is the failure."""
    with pytest.raises(ConnectionRefusedError, match=address):
        await connect_happy_eyeballs(address, 443, network.connect)

    assert network.asked == [address]


async def test_order(network: Network) -> None:
    """Families take turns, no address is tried twice, and the first failure is told."""
    with pytest.raises(ConnectionRefusedError, match=SIX_A):
        await connect_happy_eyeballs("example.com", 443, network.connect)

    assert network.asked == [SIX_A, FOUR_A, SIX_B, FOUR_B]


async def test_the_first_answers(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other address is bothered while the first has its head start."""
    monkeypatch.setattr(happy_eyeballs, "HEAD_START", math.inf)
    network.behaviour = {SIX_A: anyio.lowlevel.checkpoint}

    assert (await connect_happy_eyeballs("example.com", 443, network.connect)).address == SIX_A
    assert network.asked == [SIX_A]


async def test_a_refusal_ends_the_head_start(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an address refuses, the next is tried at once."""
    monkeypatch.setattr(happy_eyeballs, "HEAD_START", math.inf)
    network.behaviour = {FOUR_A: anyio.lowlevel.checkpoint}

    assert (await connect_happy_eyeballs("example.com", 443, network.connect)).address == FOUR_A


async def test_silence(network: Network) -> None:
    """An address that says nothing is passed by, and given up when another answers."""
    network.behaviour = {SIX_A: anyio.sleep_forever, SIX_B: anyio.lowlevel.checkpoint}

    assert (await connect_happy_eyeballs("example.com", 443, network.connect)).address == SIX_B
    assert SIX_A in network.given_up


async def test_two_answer_at_once(network: Network) -> None:
    """Of two that come about in the same moment one is kept and the other closed."""
    both = anyio.Event()

    async def meet() -> None:
        with anyio.CancelScope(shield=True):
            await both.wait()

    async def arrive() -> None:
        both.set()

    network.behaviour = {SIX_A: meet, FOUR_A: arrive}
    kept = await connect_happy_eyeballs("example.com", 443, network.connect)

    assert len(network.opened) == 2
    assert [each for each in network.opened if not each.aborted] == [kept]


async def test_nobody_waits_any_more(network: Network) -> None:
    """A connection that comes about while its caller is cancelled is closed."""
    with anyio.CancelScope() as scope:

        async def leave() -> None:
            scope.cancel()

        network.behaviour = {SIX_A: leave}
        await connect_happy_eyeballs("example.com", 443, network.connect)

    assert [each.aborted for each in network.opened] == [True]


async def test_no_such_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that nobody knows is an error of the network."""

    async def look_up(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(anyio, "getaddrinfo", look_up)

    with pytest.raises(OSError, match="unknown"):
        await connect_happy_eyeballs("example.invalid", 443, Network().connect)
