"""Settings as values: time limits, bounds, the network; a key and a proxy with redacted reprs."""

import re
import ssl
import sys
from base64 import b64encode
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes, urlsplit

import attrs

from ._errors import ConfigurationError

__all__ = ["TOKEN", "ApiKey", "Limits", "Network", "Proxy", "Timeout"]

TOKEN: Final = re.compile(r"[\x21-\x7e]+")


class ApiKey:
    """A key that shows itself to nobody who doesn't ask by name."""

    __slots__ = ("_value",)

    def __init__(self, value: object, source: str = "api_key") -> None:
        """Take a key.

        Raises:
            ConfigurationError: it is not text that an HTTP header can carry.
        """
        if not isinstance(value, str):
            msg = f"{source} must be a string, got {type(value).__name__}"
            raise ConfigurationError(msg)
        if not TOKEN.fullmatch(value):
            msg = (
                f"{source} has a space, a line break or a character that an HTTP header can't"
                " carry; copy the key again, without quotes or blanks around it"
            )
            raise ConfigurationError(msg)
        self._value = value

    def reveal(self) -> str:
        """Return the key itself, for the header of a request."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __reduce__(self) -> tuple[type["ApiKey"], tuple[str]]:
        return ApiKey, (self._value,)


def _seconds(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if value is None:
        return
    where = f"{type(instance).__name__}.{attribute.name}".lower()
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{where} must be seconds or None, got {type(value).__name__}"
        raise ConfigurationError(msg)
    if not 0 < value <= sys.float_info.max:
        msg = f"{where} must be more than 0 seconds, got {value}; None means no limit"
        raise ConfigurationError(msg)


def _positive(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        where = f"{type(instance).__name__}.{attribute.name}".lower()
        msg = f"{where} must be a whole number above 0, got {value!r}"
        raise ConfigurationError(msg)


@attrs.frozen
class Timeout:
    """Time limits in seconds; None lifts one.

    Raises:
        ConfigurationError: a limit that is no number above 0.
    """

    connect: float | None = attrs.field(default=10.0, validator=_seconds)
    """Longest wait for a connection: name look-up, TCP and TLS."""
    read: float | None = attrs.field(default=300.0, validator=_seconds)
    """Longest silence before the first byte of an answer; the service itself gives up at 300 s."""
    idle: float | None = attrs.field(default=120.0, validator=_seconds)
    """Longest silence between two frames of a stream; heartbeats don't count."""
    total: float | None = attrs.field(default=None, validator=_seconds)
    """Deadline over everything: queueing, retries and pauses included."""

    @classmethod
    def of(cls, value: "Timeout | float | None", default: "Timeout | None" = None) -> "Timeout":
        """Read an argument: a plain number sets connect, read and idle."""
        if value is None:
            return default or cls()
        if isinstance(value, Timeout):
            return value
        total = default.total if default else None
        return cls(connect=value, read=value, idle=value, total=total)


@attrs.frozen
class Limits:
    """Bounds on what a client takes up.

    Raises:
        ConfigurationError: a bound that is no number above 0.
    """

    max_connections: int = attrs.field(default=100, validator=_positive)
    """Connections at once, per event loop; further calls wait their turn."""
    keepalive_expiry: float | None = attrs.field(default=15.0, validator=_seconds)
    """Seconds that an idle connection is kept for reuse; None keeps it until the peer closes."""
    max_frame_size: int = attrs.field(default=1 << 20, validator=_positive)
    """Largest frame of a stream, in bytes."""
    max_answer_size: int = attrs.field(default=64 << 20, validator=_positive)
    """Largest body of an answer that is no stream, in bytes."""
    max_error_size: int = attrs.field(default=1 << 20, validator=_positive)
    """Largest body of an error answer that is read, in bytes."""

    @classmethod
    def of(cls, value: object) -> "Limits":
        """Read an argument."""
        if value is None or isinstance(value, Limits):
            return value or cls()
        msg = f"limits must be a Limits, got {type(value).__name__}"
        raise ConfigurationError(msg)


@attrs.frozen
class Proxy:
    """A proxy that shows its user name and password to nobody who doesn't ask by name."""

    url: str
    """Its address, without user name and password."""
    auth: tuple[bytes, bytes] | None = attrs.field(default=None, repr=False)
    """User name and password, as they are and not as an address spells them."""

    @property
    def scheme(self) -> str:
        """How it is spoken to: `http`, `https`, `socks5` or `socks5h`."""
        return self.url.partition(":")[0]

    @property
    def authorization(self) -> str:
        """The value of the Proxy-Authorization header; empty without a user name."""
        # UTF-8, whatever the user name: https://www.rfc-editor.org/rfc/rfc7617#section-2.1
        return f"Basic {b64encode(b':'.join(self.auth)).decode()}" if self.auth else ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What nobody may show: the password, however it is spelled, and the header with it."""
        if self.auth is None:
            return ()
        _, password = self.auth
        spellings = (
            password.decode(errors="replace"),
            password.decode("latin-1"),
            repr(password)[2:-1],
            quote(password, safe=""),
        )
        return *dict.fromkeys(spellings), self.authorization.removeprefix("Basic ")


def _proxy(value: Proxy | str | None) -> Proxy | None:
    if not isinstance(value, str):
        return value
    parts = urlsplit(value)
    login, at, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    auth = (unquote_to_bytes(user), unquote_to_bytes(password)) if at else None
    return Proxy(parts._replace(netloc=host).geturl(), auth)


@attrs.frozen
class Network:
    """How to reach the service: what is the same for all calls of a client."""

    base_url: str
    proxy: Proxy | None = attrs.field(converter=_proxy)
    verify: bool | ssl.SSLContext
    trust_env: bool
    limits: Limits
    transport: Any
    """`auto`, `httpx`, `aiohttp`, or a transport of httpx's kind."""

    @property
    def host(self) -> str:
        """The service's host, for messages."""
        return urlsplit(self.base_url).netloc

    @property
    def uses_tls(self) -> bool:
        """Whether anything on the way needs certificates."""
        return self.base_url.startswith("https:") or self.proxy_scheme == "https"

    @property
    def proxy_scheme(self) -> str:
        """How the proxy is spoken to; empty without one."""
        return self.proxy.scheme if self.proxy else ""
