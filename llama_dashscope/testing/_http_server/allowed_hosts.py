"""Checks the Host header of requests, as a defence against DNS rebinding.

A web page can point its own domain name at this machine; the browser then lets it read answers of a
server here. Such requests have the page's name in their Host header, so the server only accepts its
own names.
"""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from llama_dashscope._environment import is_local
from llama_dashscope._errors import ConfigurationError

ANY = "*"
_NAME = re.compile(r"[\w.-]+")
_WILDCARDS = ("", "0.0.0.0", "::")  # noqa: S104  # to compare with; nothing is bound here


class AllowedHosts:
    """The names by which clients may address a server.

    Loopback names and addresses are always allowed. A server that listens on all interfaces also
    allows every IP address, which can't be a rebound name.

    Args:
        bound: the host that the server listens on.
        names: further names, in upper or lower case; `"*"` for every name.

    Raises:
        ConfigurationError: a name is not a bare host name; it may have a scheme or a port.
    """

    def __init__(self, bound: str, names: Iterable[str] = ()) -> None:
        self._names = {bound.lower(), *map(_checked, names)}
        self._any_address = bound in _WILDCARDS

    def allows(self, host: str | None) -> bool:
        """Tell whether a Host header is allowed; in HTTP/1.0 it may be missing."""
        if host is None or ANY in self._names:
            return True
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:  # an unclosed bracket
            return False
        if not name or "@" in host:
            return False
        return name in self._names or is_loopback(name) or (self._any_address and _is_address(name))


def is_loopback(host: str) -> bool:
    """Tell whether a name or an address is a loopback one, which only this machine can reach."""
    return is_local(f"//[{host}]" if ":" in host else f"//{host}")


def reachable(bound: str) -> str:
    """Return the host by which clients on this machine reach a server that listens on `bound`."""
    if bound in _WILDCARDS:
        return "::1" if ":" in bound else "127.0.0.1"
    return bound


def _checked(name: str) -> str:
    if name != ANY and not _NAME.fullmatch(name) and not _is_address(name):
        raise ConfigurationError(
            f"allowed_hosts must be host names such as 'box.example', without port, got {name!r}"
        )
    return name.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
