"""Where settings come from: arguments, environment variables, files and proxies.

Arguments take precedence over environment variables, and these over files. An empty value counts
as unset.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from ._errors import ConfigurationError
from ._late_imports import late_imports
from ._settings import TOKEN, ApiKey

__all__ = [
    "check_base_url",
    "check_header",
    "check_proxy",
    "check_workspace",
    "find_api_key",
    "find_base_url",
    "find_proxy",
    "is_local",
    "no_key",
]

CHINA: Final = "https://dashscope.aliyuncs.com/api/v1"
"""The one endpoint that the service documents for Llama models."""

KEY_PLACES: Final = (
    "the argument api_key, the environment variable DASHSCOPE_API_KEY, the file that"
    " DASHSCOPE_API_KEY_FILE_PATH names, or the file ~/.dashscope/api_key"
)

# A name, an IPv4 address, or an IPv6 address with an optional zone; then an optional port.
HOST: Final = re.compile(r"([\w.-]+|\[[\da-fA-F:.]+(%[\w.-]+)?])(:\d+)?", re.ASCII)

# https://www.rfc-editor.org/rfc/rfc9110#name-field-values, ASCII only.
HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

HEADER_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?|")

BAD_IN_URL: Final = re.compile(r"[^\x21-\x7e]")


def find_api_key(given: str | None, environ: Mapping[str, str]) -> ApiKey | None:
    """Return the key from the first of `KEY_PLACES` that has one, or None.

    Raises:
        ConfigurationError: the value found is not a valid key, or the file that the environment
            names can't be read.
    """
    if given is not None and given != "":
        return ApiKey(given)
    if value := environ.get("DASHSCOPE_API_KEY"):
        return ApiKey(value, "DASHSCOPE_API_KEY")
    if name := environ.get("DASHSCOPE_API_KEY_FILE_PATH"):
        key = _key_in(Path(name), f"the file {name} (DASHSCOPE_API_KEY_FILE_PATH)")
        if key is not None:
            return key
    try:
        default = Path.home() / ".dashscope" / "api_key"
        return _key_in(default, "the file ~/.dashscope/api_key") if default.is_file() else None
    except (RuntimeError, OSError):  # no home directory, or no permission to read it
        return None


def _key_in(path: Path, source: str) -> ApiKey | None:
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = f"{source} can't be read: {error}"
        raise ConfigurationError(msg) from error
    # Bytes that are not UTF-8 make a bad key; a UnicodeDecodeError would contain the whole file.
    value = content.decode("utf-8-sig", "replace").strip()
    return ApiKey(value, source) if value else None


def no_key() -> ConfigurationError:
    """Return the error for a call without a key."""
    return ConfigurationError(f"api_key is missing: no key was found in {KEY_PLACES}")


def find_base_url(given: str | None, environ: Mapping[str, str]) -> str:
    """Return the base URL: from the argument, the environment, or else the China endpoint.

    Raises:
        ConfigurationError: it is not an http or https address.
    """
    if given is not None and given != "":
        return check_base_url(given, "base_url")
    if value := environ.get("DASHSCOPE_HTTP_BASE_URL"):
        return check_base_url(value, "DASHSCOPE_HTTP_BASE_URL")
    return CHINA


def check_base_url(value: object, source: str) -> str:
    """Return the address without a trailing slash, its scheme in lower case.

    Raises:
        ConfigurationError: it is not an http or https address, or has a query, a fragment or a
            password.
    """
    parts = _split(value, source, ("http", "https"))
    if parts.query or parts.fragment:
        msg = f"{source} must end with its path; it must have no '?' and no '#'"
        raise ConfigurationError(msg)
    if "@" in parts.netloc:
        msg = f"{source} must not hold a user name or password"
        raise ConfigurationError(msg)
    return parts.geturl().rstrip("/")


def check_proxy(value: object, source: str) -> str:
    """Return a proxy's address.

    Raises:
        ConfigurationError: it is not the address of an HTTP, HTTPS or SOCKS5 proxy.
    """
    if isinstance(value, str) and value and "://" not in value:
        value = f"http://{value}"
    return _split(value, source, ("http", "https", "socks5", "socks5h")).geturl()


def _split(value: object, source: str, schemes: tuple[str, ...]) -> SplitResult:
    if not isinstance(value, str):
        msg = f"{source} must be a string, got {type(value).__name__}"
        raise ConfigurationError(msg)
    parts = SplitResult("", "", "", "", "")
    try:
        parts = urlsplit(value)
        host = parts.netloc.rpartition("@")[2]
        sound = parts.scheme in schemes and HOST.fullmatch(host) and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:  # a bad port, an unclosed bracket, a label that is too long
        sound = False
    if not sound or BAD_IN_URL.search(value):
        starts = " or ".join(f"{scheme}://" for scheme in schemes)
        shown = f"an address like {schemes[0]}://host:port"
        msg = f"{source} must be {shown}; it begins with {starts} and has no spaces"
        raise ConfigurationError(msg)
    return parts


def find_proxy(base_url: str, environ: Mapping[str, str]) -> str | None:
    """Return the proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names for this address, or None.

    None for this machine's own addresses and for those that NO_PROXY excludes, by the rules of the
    standard library.

    Args:
        base_url: the service's address.
        environ: only tells whether a proxy variable is set at all; the values come from the
            process's own environment, which is what the standard library reads.

    Raises:
        ConfigurationError: the environment names an invalid proxy.
    """
    if is_local(base_url) or not any(name.lower().endswith("_proxy") for name in environ):
        return None
    with late_imports:  # heavy, and needed only where a proxy is named
        import urllib.request
    parts = urlsplit(base_url)
    proxies = urllib.request.getproxies_environment()
    found = proxies.get(parts.scheme) or proxies.get("all")
    # Undocumented, and absent from typeshed.
    bypass: Callable[[str, dict[str, str]], bool] = vars(urllib.request)["proxy_bypass_environment"]
    # NO_PROXY may list host and port, or the bare host, an IPv6 address without its brackets.
    if not found or bypass(parts.netloc, proxies) or bypass(parts.hostname or "", proxies):
        return None
    return check_proxy(found, f"the environment's proxy for {parts.scheme}")


def is_local(base_url: str) -> bool:
    """Tell whether an address is a loopback address of this machine."""
    host = (urlsplit(base_url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_header(name: object, value: object, source: str = "headers") -> tuple[str, str]:
    """Return a header as it is sent.

    Raises:
        ConfigurationError: HTTP can't carry the name or the value, or the client sets this header
            itself.
    """
    if not isinstance(name, str) or not HEADER_NAME.fullmatch(name):
        msg = f"{source}: {name!r} is not a valid HTTP header name"
        raise ConfigurationError(msg)
    if not isinstance(value, str):
        msg = f"{source}: the value of {name!r} must be a string, got {type(value).__name__}"
        raise ConfigurationError(msg)
    if not HEADER_VALUE.fullmatch(value):
        msg = (
            f"{source}: the value of {name!r} has a line break, a leading or trailing space, or a"
            " character that an HTTP header can't carry; headers are ASCII"
        )
        raise ConfigurationError(msg)
    if name.lower() in {"content-length", "transfer-encoding", "host"}:
        msg = f"{source}: {name!r} is set by the client"
        raise ConfigurationError(msg)
    if name.lower() == "authorization":
        msg = f"{source}: pass the key as api_key; among the headers it would not be redacted"
        raise ConfigurationError(msg)
    return name.lower(), value


def check_workspace(value: object) -> str:
    """Return a workspace id as it is sent.

    Raises:
        ConfigurationError: it is not text that an HTTP header can carry.
    """
    if not isinstance(value, str) or not TOKEN.fullmatch(value):
        msg = "workspace must be an id such as 'ws_QTggmeAxxxxx', without spaces or line breaks"
        raise ConfigurationError(msg)
    return value
