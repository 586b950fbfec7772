"""Which Host headers the server answers: a defence against DNS rebinding.

A web page can point a name of its own at this machine, and a browser then lets it read what a
server here says. Such a request carries the page's name as its Host, and a server that answers
only to its own names tells the page nothing.
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

    Loopback names and addresses are always among them. A server on all interfaces answers to every
    IP address as well: a rebound name is never one.

    Args:
        bound: the host that the server listens on.
        names: further names, in any case; `"*"` for every name.

    Raises:
        ConfigurationError: a name has more to it, as a scheme or a port.
    """

    def __init__(self, bound: str, names: Iterable[str] = ()) -> None:
        self._names = {bound.lower(), *map(_checked, names)}
        self._any_address = bound in _WILDCARDS

    def allows(self, host: str | None) -> bool:
        """Tell whether to answer a request with this Host header; HTTP/1.0 may have none."""
        if host is None or ANY in self._names:
            return True
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:  # brackets that don't close
            return False
        if not name or "@" in host:
            return False
        return name in self._names or is_loopback(name) or (self._any_address and _is_address(name))


def is_loopback(host: str) -> bool:
    """Tell whether a name or an address leads to this machine, and no other machine can use it."""
    return is_local(f"//[{host}]" if ":" in host else f"//{host}")


def reachable(bound: str) -> str:
    """Return the host by which this machine reaches a server of its own that listens on `bound`."""
    if bound in _WILDCARDS:
        return "::1" if ":" in bound else "127.0.0.1"
    return bound


def _checked(name: str) -> str:
    if name != ANY and not _NAME.fullmatch(name) and not _is_address(name):
        raise ConfigurationError(
            f"allowed_hosts must be bare names such as 'box.example', got {name!r}"
        )
    return name.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
