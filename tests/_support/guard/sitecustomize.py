"""Keeps the tests on this machine: an audit hook that refuses connections beyond loopback.

`conftest.py` imports it for the tests themselves. Its folder is on PYTHONPATH while they run, and
Python imports a module of this name at startup, so it also applies to programs that tests start.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from typing import Any, cast

OUTWARD = {"socket.connect", "socket.sendto", "socket.sendmsg"}


def parsed(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return a host as an IP address, or None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def guard(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse other connections, and fail the look-up of names as if there were no DNS."""
    if event in OUTWARD and isinstance(arguments[1], tuple):
        host = str(cast("tuple[object, ...]", arguments[1])[0])
        address = parsed(host)
        if not (host == "localhost" or (address and address.is_loopback)):
            raise RuntimeError(f"a test connects to {host}: tests must stay on loopback")
    elif event == "socket.getaddrinfo":
        name = arguments[0].decode() if isinstance(arguments[0], bytes) else str(arguments[0] or "")
        if name not in {"", "localhost"} and parsed(name) is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


sys.addaudithook(guard)
