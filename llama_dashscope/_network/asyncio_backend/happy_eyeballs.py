"""Happy Eyeballs (RFC 8305) over any connect function."""

import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from itertools import chain, zip_longest
from typing import Final, Protocol, TypeVar

import anyio

__all__ = ["connect_happy_eyeballs"]

HEAD_START: Final = 0.25
"""Seconds after which the next address is tried in parallel (RFC 8305)."""


class Abortable(Protocol):
    """A connection."""

    def abort(self) -> None:
        """Close the connection at once."""
        ...


C = TypeVar("C", bound=Abortable)


async def connect_happy_eyeballs(host: str, port: int, connect: Callable[[str], Awaitable[C]]) -> C:
    """Return the first connection that succeeds; the other attempts are cancelled.

    asyncio has this too, but may leave a losing connection open.

    Args:
        host: name or address.
        port: number of the port.
        connect: opens a connection to an address.

    Raises:
        OSError: there is no such host, or none of its addresses can be reached; then the error of
            the first attempt that failed.
    """
    addresses = await _addresses(host, port)
    if len(addresses) == 1:
        return await connect(addresses[0])
    connections: list[C] = []
    failures: list[OSError] = []

    async def attempt(address: str, failed: anyio.Event) -> None:
        try:
            connections.append(await connect(address))
        except OSError as error:
            failures.append(error)
            failed.set()
        else:
            group.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as group:
            for address in addresses:
                failed = anyio.Event()
                group.start_soon(attempt, address, failed)
                with anyio.move_on_after(HEAD_START):
                    await failed.wait()
        if not connections:
            raise failures[0]
        return connections.pop(0)
    finally:
        for late in connections:
            late.abort()


async def _addresses(host: str, port: int) -> list[str]:
    """Return a host's addresses in the system's order, with the two families interleaved."""
    try:
        return [str(ip_address(host))]
    except ValueError:
        pass
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    known = {address: family for family, *_, (address, *_) in found}
    first = found[0][0]
    families = (
        [address for address, family in known.items() if (family == first) is wanted]
        for wanted in (True, False)
    )
    return [address for address in chain.from_iterable(zip_longest(*families)) if address]
