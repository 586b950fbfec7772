"""Settings as frozen values: time limits, bounds, network; key and proxy have redacted reprs."""

import re
import ssl
import sys
from base64 import b64encode
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes, urlsplit

import attrs

from ._errors import ConfigurationError
from ._sanitize import bounded_repr

__all__ = ["TOKEN", "ApiKey", "Limits", "Network", "Proxy", "Timeout", "true_or_false"]

TOKEN: Final = re.compile(r"[\x21-\x7e]+")


class ApiKey:
    """An API key with a redacted repr; only `reveal` returns it."""

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
                " carry; copy the key again, without quotes or spaces around it"
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


def true_or_false(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    """Check a setting that is True or False."""
    if not isinstance(value, bool):
        where = f"{type(instance).__name__}.{attribute.name}".lower()
        raise ConfigurationError(f"{where} must be True or False, got {bounded_repr(value)}")


def _seconds(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if value is None:
        return
    where = f"{type(instance).__name__}.{attribute.name}".lower()
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{where} must be seconds or None, got {type(value).__name__}"
        raise ConfigurationError(msg)
    if not 0 < value <= sys.float_info.max:
        msg = f"{where} must be more than 0 seconds, got {bounded_repr(value)}; None means no limit"
        raise ConfigurationError(msg)


def _positive(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        where = f"{type(instance).__name__}.{attribute.name}".lower()
        msg = f"{where} must be a whole number above 0, got {bounded_repr(value)}"
        raise ConfigurationError(msg)


@attrs.frozen
class Timeout:
    """Time limits in seconds; None means no limit.

    Raises:
        ConfigurationError: a limit is not a number above 0.
    """

    connect: float | None = attrs.field(default=10.0, validator=_seconds)
    """Longest wait for a new connection: name look-up, TCP and TLS."""
    read: float | None = attrs.field(default=300.0, validator=_seconds)
    """Longest wait for the first byte of an answer; the service itself gives up after 300 s."""
    idle: float | None = attrs.field(default=120.0, validator=_seconds)
    """Longest wait between two frames of a stream; heartbeats don't count as frames."""
    total: float | None = attrs.field(default=None, validator=_seconds)
    """Longest duration of the whole call: queueing, retries and pauses included."""

    @classmethod
    def of(cls, value: "Timeout | float | None", default: "Timeout | None" = None) -> "Timeout":
        """Return the argument as a `Timeout`: a plain number sets connect, read and idle."""
        if value is None:
            return default or cls()
        if isinstance(value, Timeout):
            return value
        total = default.total if default else None
        return cls(connect=value, read=value, idle=value, total=total)


@attrs.frozen
class Limits:
    """Bounds on a client's connections and on the size of answers.

    Raises:
        ConfigurationError: a bound is not a number above 0.
    """

    max_connections: int = attrs.field(default=100, validator=_positive)
    """Most connections at once, per event loop; further calls wait their turn."""
    keepalive_expiry: float | None = attrs.field(default=15.0, validator=_seconds)
    """Seconds that an idle connection is kept for reuse; None keeps it until the peer closes."""
    max_frame_size: int = attrs.field(default=1 << 20, validator=_positive)
    """Largest frame of a stream, in bytes."""
    max_answer_size: int = attrs.field(default=64 << 20, validator=_positive)
    """Largest body of an answer that is not streamed, in bytes."""
    max_error_size: int = attrs.field(default=1 << 20, validator=_positive)
    """Most bytes that are read of an error's body."""

    @classmethod
    def of(cls, value: object) -> "Limits":
        """Return the argument as a `Limits`; None means the defaults."""
        if value is None or isinstance(value, Limits):
            return value or cls()
        msg = f"limits must be a Limits, got {type(value).__name__}"
        raise ConfigurationError(msg)


@attrs.frozen
class Proxy:
    """A proxy; its repr shows neither user name nor password."""

    url: str
    """Its address, without user name and password."""
    auth: tuple[bytes, bytes] | None = attrs.field(default=None, repr=False)
    """User name and password, percent-decoded."""

    @property
    def scheme(self) -> str:
        """The proxy's protocol: `http`, `https`, `socks5` or `socks5h`."""
        return self.url.partition(":")[0]

    @property
    def authorization(self) -> str:
        """The value of the Proxy-Authorization header; empty without a user name."""
        # Sent in UTF-8: https://www.rfc-editor.org/rfc/rfc7617#section-2.1
        return f"Basic {b64encode(b':'.join(self.auth)).decode()}" if self.auth else ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must be redacted: the password in each spelling, and the header's credentials."""
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


def _host(network: "Network") -> str:
    return urlsplit(network.base_url).netloc


@attrs.frozen
class Network:
    """The network settings that all calls of a client share."""

    base_url: str
    proxy: Proxy | None = attrs.field(converter=_proxy)
    verify: bool | ssl.SSLContext
    trust_env: bool
    limits: Limits
    transport: Any
    """`auto`, `httpx`, `aiohttp`, or an httpx transport."""
    host: str = attrs.field(
        init=False, default=attrs.Factory(_host, takes_self=True), eq=False, repr=False
    )
    """The service's host and port, for messages."""

    @property
    def uses_tls(self) -> bool:
        """Whether the service or the proxy is reached by TLS."""
        return self.base_url.startswith("https:") or self.proxy_scheme == "https"

    @property
    def proxy_scheme(self) -> str:
        """The proxy's protocol; empty without a proxy."""
        return self.proxy.scheme if self.proxy else ""
