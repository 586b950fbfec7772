"""Keep the tests on this machine: an audit hook that no connection beyond loopback passes.

`conftest.py` imports it for the tests themselves. Its folder is on PYTHONPATH while they run, and
Python imports a module of this name when it starts, so the programs that they start obey as well.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from typing import Any, cast

OUTWARD = {"socket.connect", "socket.sendto", "socket.sendmsg"}


def parsed(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host is, or None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def guard(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse to connect elsewhere; know other machines' names as little as one without DNS."""
    if event in OUTWARD and isinstance(arguments[1], tuple):
        host = str(cast("tuple[object, ...]", arguments[1])[0])
        address = parsed(host)
        if not (host == "localhost" or (address and address.is_loopback)):
            raise RuntimeError(f"a test reaches for {host}: tests stay on loopback")
    elif event == "socket.getaddrinfo":
        name = arguments[0].decode() if isinstance(arguments[0], bytes) else str(arguments[0] or "")
        if name not in {"", "localhost"} and parsed(name) is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


sys.addaudithook(guard)
