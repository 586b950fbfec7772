"""Where settings come from, in which order, and what is refused before it can do harm."""

from __future__ import annotations

import copy
import pickle
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_dashscope import ConfigurationError, Limits, Pace, Retry, Timeout
from llama_dashscope._environment import (
    check_base_url,
    check_header,
    check_proxy,
    check_workspace,
    find_api_key,
    find_base_url,
    find_proxy,
    is_local,
    no_key,
)
from llama_dashscope._settings import ApiKey, Network, Proxy

CHINA = "https://dashscope.aliyuncs.com/api/v1"
FILE = "DASHSCOPE_API_KEY_FILE_PATH"
BAD_KEYS = ["sk 1", "sk\n", "\nsk", "sk\r\nx: y", "sk\0", "sk你", '\u201csk"', "sk\x7f", " ", "\t"]


def key_of(given_key: object, environ: dict[str, str] | None = None) -> str | None:
    """Look for a key and reveal it."""
    found = find_api_key(cast("str | None", given_key), environ or {})
    return found.reveal() if found else None


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a home with a key file, and return that file."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    file = tmp_path / ".dashscope" / "api_key"
    file.parent.mkdir()
    file.write_text("sk-home\n")
    return file


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """Give a key file of another name."""
    file = tmp_path / "key"
    file.write_text("\ufeff sk-file \r\n", "utf-8")
    return file


@pytest.mark.parametrize("empty", [None, ""])
def test_the_four_places_of_a_key(home: Path, named: Path, empty: str | None) -> None:
    """Argument, variable, the file that a variable names, the file at home; empty is unset."""
    unset = {} if empty is None else {"DASHSCOPE_API_KEY": empty}
    no_file = {} if empty is None else {FILE: empty}
    file = {FILE: str(named)}

    assert key_of("sk-given", {"DASHSCOPE_API_KEY": "sk-env", **file}) == "sk-given"
    assert key_of(empty, {"DASHSCOPE_API_KEY": "sk-env", **file}) == "sk-env"
    assert key_of(empty, {**unset, **file}) == "sk-file"
    assert key_of(empty, {**unset, **no_file}) == "sk-home"
    home.unlink()
    assert key_of(empty, {**unset, **no_file}) is None


@pytest.mark.parametrize("content", ["", " \n", "\ufeff\n"])
def test_an_empty_file_counts_as_unset(home: Path, named: Path, content: str) -> None:
    """An empty file is passed over as an empty variable is, and the next place is asked."""
    named.write_text(content, "utf-8")

    assert key_of(None, {FILE: str(named)}) == "sk-home"

    home.write_text(content, "utf-8")

    assert key_of(None, {FILE: str(named)}) is None


def test_a_file_at_home_that_is_none(home: Path) -> None:
    """A folder of that name is no key file; nor is a file in place of the folder."""
    home.unlink()
    home.mkdir()

    assert key_of(None) is None

    home.rmdir()
    home.parent.rmdir()
    home.parent.write_text("sk-odd")

    assert key_of(None) is None


def test_a_machine_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user may have no home; then there is no key file in it."""

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)

    assert key_of(None) is None


@pytest.mark.parametrize("what", ["missing", "folder"])
def test_a_named_file_that_cannot_be_read(tmp_path: Path, what: str) -> None:
    """Who names a file wants it used: not finding it is an error that names file and variable."""
    path = tmp_path / "missing" if what == "missing" else tmp_path

    with pytest.raises(ConfigurationError, match=f"{path}.*{FILE}.*can't be read") as caught:
        key_of(None, {FILE: str(path)})

    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    "content",
    [b"sk-1\nsk-2\n", "sk-你".encode(), "sk-secret".encode("utf-16"), b"\xffsk-secret", b"sk 1"],
)
def test_a_file_that_holds_no_key(named: Path, content: bytes) -> None:
    """What can't be a key is refused by the file's name, and not shown."""
    named.write_bytes(content)

    with pytest.raises(ConfigurationError, match=FILE) as caught:
        key_of(None, {FILE: str(named)})

    assert "sk" not in str(caught.value).replace(str(named), "")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("value", BAD_KEYS)
def test_a_key_that_no_header_can_carry(value: str) -> None:
    """A line break or a blank in a key is refused where it comes from, and not shown."""
    for found, environ in ((value, {}), (None, {"DASHSCOPE_API_KEY": value})):
        with pytest.raises(ConfigurationError) as caught:
            key_of(found, environ)

        assert str(caught.value).startswith("DASHSCOPE_API_KEY" if environ else "api_key")
        assert "sk" not in str(caught.value)


@pytest.mark.parametrize("value", [b"sk-1", 5, 0, False, ["sk-1"]])
def test_a_key_that_is_no_text(value: object) -> None:
    """A key is text; bytes from a file are not."""
    with pytest.raises(ConfigurationError, match=r"^api_key must be a string, got "):
        key_of(value)


def test_no_key_at_all() -> None:
    """The error names the four places."""
    for place in ("api_key", "DASHSCOPE_API_KEY,", FILE, "~/.dashscope/api_key"):
        assert place in str(no_key())


def test_a_key_hides() -> None:
    """Printing, formatting and looking at it show nothing; asking by name does."""
    key = ApiKey("sk-secret")

    for shown in (repr(key), str(key), f"{key}", f"{key!r:>9}", repr([key]), repr({"key": key})):
        assert "secret" not in shown
    assert not hasattr(key, "__dict__")
    assert key.reveal() == "sk-secret"


@pytest.mark.parametrize(
    ("address", "proxy"),
    [
        ("http://proxy:3128", Proxy("http://proxy:3128")),
        ("http://me:p%40ss@proxy:3128/x", Proxy("http://proxy:3128/x", (b"me", b"p@ss"))),
        ("socks5://u:%E5%AF%86@[::1]:1", Proxy("socks5://[::1]:1", (b"u", "密".encode()))),
        ("https://me@proxy", Proxy("https://proxy", (b"me", b""))),
    ],
)
def test_the_address_of_a_proxy(address: str, proxy: Proxy) -> None:
    """User name and password are kept apart from the address."""
    network = Network("http://x", address, True, True, Limits(), "auto")

    assert network.proxy == proxy
    assert network.proxy_scheme == address.partition(":")[0]


def test_a_proxy_hides_its_password() -> None:
    """No repr shows it; what may not be shown is the password and the header that holds it."""
    network = Network("http://x", "http://me:mine@proxy", True, True, Limits(), "auto")
    proxy = network.proxy

    assert proxy is not None
    assert "Proxy(url='http://proxy')" in repr(network)
    assert proxy.authorization == "Basic bWU6bWluZQ=="
    assert proxy.secrets == ("mine", "bWU6bWluZQ==")
    assert (Proxy("http://proxy").authorization, Proxy("http://proxy").secrets) == ("", ())


def test_a_key_travels_with_its_client() -> None:
    """Copies and pickles of a client need it."""
    key = ApiKey("sk-secret")

    for again in (
        copy.copy(key),
        copy.deepcopy(key),
        pickle.loads(pickle.dumps(key)),
    ):  # our own bytes
        assert again.reveal() == "sk-secret"


@pytest.mark.parametrize("empty", [None, ""])
def test_where_the_address_comes_from(empty: str | None) -> None:
    """Argument, variable, else the endpoint that the service documents for Llama."""
    environ = {"DASHSCOPE_HTTP_BASE_URL": "https://env.example/api/v1/"}

    assert find_base_url("http://localhost:8000/api/v1", environ) == "http://localhost:8000/api/v1"
    assert find_base_url(empty, environ) == "https://env.example/api/v1"
    assert find_base_url(empty, {"DASHSCOPE_HTTP_BASE_URL": ""}) == CHINA
    assert find_base_url(empty, {}) == CHINA


@pytest.mark.parametrize(
    ("value", "address"),
    [
        (CHINA, CHINA),
        (CHINA + "/", CHINA),
        (CHINA + "//", CHINA),
        ("HTTPS://dashscope.aliyuncs.com/api/v1", CHINA),
        (CHINA + "?", CHINA),
        (CHINA + "/#", CHINA),
        ("http://127.0.0.1:80", "http://127.0.0.1:80"),
        ("http://[::1]:8000/api/v1", "http://[::1]:8000/api/v1"),
        ("http://a_b.example/api/v1", "http://a_b.example/api/v1"),
        (
            "https://ws-1.cn-beijing.maas.aliyuncs.com/api/v1",
            "https://ws-1.cn-beijing.maas.aliyuncs.com/api/v1",
        ),
    ],
)
def test_addresses(value: str, address: str) -> None:
    """An address is used as given, without its last slash and with its scheme in small letters."""
    assert check_base_url(value, "base_url") == address


@pytest.mark.parametrize(
    "value",
    [
        "dashscope.aliyuncs.com/api/v1",
        "//dashscope.aliyuncs.com",
        "ftp://dashscope.aliyuncs.com",
        "https:dashscope.aliyuncs.com",
        "https://",
        "https:///api/v1",
        "https://:443/api/v1",
        "https://dash scope.aliyuncs.com",
        " https://dashscope.aliyuncs.com",
        "https://dashscope.aliyuncs.com/api/v1\n",
        "https://dash\nscope.aliyuncs.com",
        "https://dashscope.aliyuncs.com/api\tv1",
        "https://dashscope.aliyuncs.com/\x7f",
        "https://百炼.example/api/v1",
        "https://host:port/api/v1",
        "https://host:0/api/v1",
        "https://host:65536/api/v1",
        "https://host:-1/api/v1",
        "https://[::1/api/v1",
        "https://[zz]/api/v1",
        "https://a..b/api/v1",
        f"https://{'a' * 64}.example/api/v1",
        "https://{workspace_id}.cn-beijing.maas.aliyuncs.com/api/v1",
        "https://a<b/api/v1",
        "https://host\\path/api/v1",
        "https://user:secret@host/api/v1",
        "https://user@host/api/v1",
        "https://@host/api/v1",
        "https://host/api/v1?key=secret",
        "https://host/api/v1#secret",
        "https://user:secret@host/api/v1?key=secret",
        5,
        b"https://host",
        ["https://host"],
    ],
)
def test_what_is_no_address(value: object) -> None:
    """An address that can't be right is refused by the name of where it stands, without secrets."""
    with pytest.raises(ConfigurationError) as caught:
        find_base_url(cast("str", value), {})

    assert str(caught.value).startswith("base_url must ")
    assert "secret" not in str(caught.value)
    if isinstance(value, str):
        with pytest.raises(ConfigurationError, match=r"^DASHSCOPE_HTTP_BASE_URL must "):
            find_base_url(None, {"DASHSCOPE_HTTP_BASE_URL": value})


@given(st.text() | st.builds("https://{}".format, st.text()))
def test_any_address(value: str) -> None:
    """Any text is an address or a ConfigurationError, and what is one stays one."""
    try:
        address = check_base_url(value, "base_url")
    except ConfigurationError:
        return

    assert check_base_url(address, "base_url") == address
    assert address.isascii()


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("http://localhost/api/v1", True),
        ("http://LOCALHOST:8000", True),
        ("http://api.localhost", True),
        ("http://127.0.0.1:8000", True),
        ("http://127.1.2.3", True),
        ("http://[::1]:8000", True),
        ("http://127.evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://notlocalhost", False),
        ("http://10.0.0.1", False),
        ("http://[fe80::1]", False),
        (CHINA, False),
    ],
)
def test_this_machine(address: str, local: bool) -> None:
    """Only an address of this very machine may be spoken to in the clear without a warning."""
    assert is_local(address) == local


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        ("https://proxy:3128", "https://proxy:3128"),
        ("socks5://proxy:1080", "socks5://proxy:1080"),
        ("socks5h://proxy:1080", "socks5h://proxy:1080"),
        ("http://user:p%40ss@proxy:3128/", "http://user:p%40ss@proxy:3128/"),
        ("proxy:3128", "http://proxy:3128"),
        ("HTTP://proxy:3128", "http://proxy:3128"),
    ],
)
def test_proxies(value: str, address: str) -> None:
    """A proxy may be named as other programs take it, without a scheme too."""
    assert check_proxy(value, "proxy") == address


@pytest.mark.parametrize(
    "value", ["", "ftp://proxy", "socks4://proxy", "http://", "proxy with blanks", "proxy:x", 5]
)
def test_what_is_no_proxy(value: object) -> None:
    """A proxy that can't be right is refused by the name of where it stands."""
    with pytest.raises(ConfigurationError, match=r"^proxy must be "):
        check_proxy(value, "proxy")


@pytest.mark.parametrize(
    ("environ", "address", "proxy"),
    [
        ({}, CHINA, None),
        ({"HTTPS_PROXY": "http://p:1"}, CHINA, "http://p:1"),
        ({"https_proxy": "p:1"}, CHINA, "http://p:1"),
        ({"HTTPS_PROXY": "http://up:1", "https_proxy": "http://low:1"}, CHINA, "http://low:1"),
        ({"HTTP_PROXY": "http://p:1"}, CHINA, None),
        ({"HTTP_PROXY": "http://p:1"}, "http://host", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://host", None),
        ({"ALL_PROXY": "socks5://p:1"}, CHINA, "socks5://p:1"),
        ({"ALL_PROXY": "socks5://p:1"}, "http://host", "socks5://p:1"),
        ({"ALL_PROXY": "socks5://p:1", "HTTPS_PROXY": "http://q:1"}, CHINA, "http://q:1"),
        ({"HTTPS_PROXY": ""}, CHINA, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, CHINA, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "aliyuncs.com"}, CHINA, None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": ".aliyuncs.com"}, CHINA, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a, dashscope.aliyuncs.com"}, CHINA, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "yuncs.com"}, CHINA, "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other.com"}, CHINA, "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": ""}, CHINA, "http://p:1"),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "10.0.0.1"}, "http://10.0.0.1:8000/x", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "host:81"}, "http://host:81", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "host:81"}, "http://host:82", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "fd00::1"}, "http://[fd00::1]:8000", None),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "[fd00::1]"}, "http://[fd00::1]:8000", None),
        ({"HTTP_PROXY": "http://p:1"}, "http://[fd00::1]:8000", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "http://127.0.0.1:8000/x", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://localhost:8000/x", None),
        ({"ALL_PROXY": "gopher://p:1"}, "http://[::1]:8000", None),
        ({"NO_PROXY": "*"}, CHINA, None),
    ],
)
def test_proxies_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], address: str, proxy: str | None
) -> None:
    """HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in either case, are taken as elsewhere."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    assert find_proxy(address, environ) == proxy


def test_a_proxy_of_the_environment_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused, and a password in it not shown."""
    environ = {"HTTPS_PROXY": "gopher://user:secret@proxy"}
    monkeypatch.setenv(*environ.popitem())

    with pytest.raises(ConfigurationError, match="the environment's proxy for https") as caught:
        find_proxy(CHINA, {"HTTPS_PROXY": "set"})

    assert "secret" not in str(caught.value)


def test_headers() -> None:
    """A header goes out with its name in small letters and its value as it is."""
    assert check_header("X-Trace", "a b\tc") == ("x-trace", "a b\tc")
    assert check_header("x-empty", "") == ("x-empty", "")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("", "x", "not a valid HTTP header name"),
        ("a b", "x", "not a valid HTTP header name"),
        ("a:b", "x", "not a valid HTTP header name"),
        ("a\n", "x", "not a valid HTTP header name"),
        ("ä", "x", "not a valid HTTP header name"),
        (5, "x", "not a valid HTTP header name"),
        (b"a", "x", "not a valid HTTP header name"),
        ("a", None, "must be a string"),
        ("a", 5, "must be a string"),
        ("a", b"x", "must be a string"),
        ("a", "secret\n", "line break"),
        ("a", "secret\r\nb: c", "line break"),
        ("a", " secret", "leading or trailing space"),
        ("a", "secret ", "leading or trailing space"),
        ("a", "secret\0", "can't carry"),
        ("a", "secret你", "ASCII"),
        ("Content-Length", "1", "set by the client"),
        ("Transfer-Encoding", "chunked", "set by the client"),
        ("Host", "example.com", "set by the client"),
        ("Authorization", "Bearer secret", "pass the key as api_key"),
    ],
)
def test_what_no_header_can_carry(name: object, value: object, words: str) -> None:
    """A header that could break the request, or that is ours to set, is refused; values hide."""
    with pytest.raises(ConfigurationError, match=f"^headers: .*{words}") as caught:
        check_header(name, value)

    assert "secret" not in str(caught.value)


def test_a_workspace() -> None:
    """An id goes out as it is."""
    assert check_workspace("ws_QTggmeAxxxxx") == "ws_QTggmeAxxxxx"


@pytest.mark.parametrize("value", ["", "ws 1", "ws\n", "ws\r\nx: y", "百炼", 5, b"ws", None])
def test_what_is_no_workspace(value: object) -> None:
    """An id that no header can carry is refused."""
    with pytest.raises(ConfigurationError, match=r"^workspace must be an id"):
        check_workspace(value)


def test_time_limits() -> None:
    """A number sets connect, read and idle; what is not said comes from the client's own."""
    own = Timeout(connect=1, total=9)

    assert Timeout.of(None) == Timeout(10.0, 300.0, 120.0, None)
    assert Timeout.of(None, own) is own
    assert Timeout.of(own) is own
    assert Timeout.of(5) == Timeout(5, 5, 5, None)
    assert Timeout.of(0.5, own) == Timeout(0.5, 0.5, 0.5, 9)
    assert Timeout(None, None, None, None).read is None


@pytest.mark.parametrize("name", ["connect", "read", "idle", "total"])
@pytest.mark.parametrize(
    "value",
    [0, -1, -0.5, float("nan"), float("inf"), "5", True, [], 10**400],
    ids=lambda value: str(value)[:9],
)
def test_a_time_limit_that_is_none(name: str, value: object) -> None:
    """Limits are seconds above 0; the message says which one is not."""
    made: Any = Timeout

    with pytest.raises(ConfigurationError, match=rf"^timeout\.{name} must be "):
        made(**{name: value})


@pytest.mark.parametrize("value", [0, -1, "5", float("nan"), True, (5, 10)])
def test_a_timeout_that_is_none(value: object) -> None:
    """The same holds for the plain number."""
    with pytest.raises(ConfigurationError, match=r"^timeout\.connect must be "):
        Timeout.of(cast("float", value))


@pytest.mark.parametrize(
    "name", ["max_answer_size", "max_connections", "max_error_size", "max_frame_size"]
)
@pytest.mark.parametrize("value", [0, -1, 1.5, "5", True, None])
def test_a_bound_that_is_none(name: str, value: object) -> None:
    """Bounds are whole numbers above 0; the message says which one is not."""
    made: Any = Limits

    with pytest.raises(
        ConfigurationError, match=rf"^limits\.{name} must be a whole number above 0"
    ):
        made(**{name: value})


def test_how_long_a_connection_is_kept() -> None:
    """A time above 0, or None for as long as the peer likes."""
    assert Limits(keepalive_expiry=None).keepalive_expiry is None
    with pytest.raises(ConfigurationError, match=r"^limits\.keepalive_expiry must be "):
        Limits(keepalive_expiry=0)


def test_limits() -> None:
    """None is the default bounds, and bounds are themselves; nothing else is taken for them."""
    own = Limits(5)

    assert Limits.of(None) == Limits()
    assert Limits.of(own) is own
    with pytest.raises(ConfigurationError, match="limits must be a Limits, got int"):
        Limits.of(5)


def test_settings_are_values() -> None:
    """They compare, hash and travel."""
    for value in (Timeout(1, total=2), Limits(5)):
        assert pickle.loads(pickle.dumps(value)) == value  # our own bytes
        assert hash(value) == hash(copy.deepcopy(value))


@pytest.mark.parametrize(
    ("base_url", "proxy", "uses_tls"),
    [
        ("https://host:443/api/v1", None, True),
        ("http://host:80/api/v1", None, False),
        ("http://host:80/api/v1", "https://proxy", True),
        ("http://host:80/api/v1", "socks5://proxy", False),
    ],
)
def test_a_network(base_url: str, proxy: str | None, uses_tls: bool) -> None:
    """It knows its host for messages, and whether certificates are needed at all."""
    network = Network(base_url, proxy, ssl.create_default_context(), True, Limits(), "auto")

    assert network.uses_tls == uses_tls
    assert network.host == ("host:443" if base_url.startswith("https") else "host:80")


@pytest.mark.parametrize(
    ("kind", "name", "sign"),
    [
        (Timeout, "total", 1),
        (Timeout, "idle", -1),
        (Limits, "max_connections", -1),
        (Limits, "keepalive_expiry", 1),
        (Retry, "base", 1),
        (Retry, "times", -1),
        (Pace, "requests_per_minute", 1),
        (Pace, "tokens_per_minute", -1),
    ],
)
def test_a_number_with_more_digits_than_python_shows(
    kind: Callable[..., object], name: str, sign: int
) -> None:
    """It is refused like any other one that is out of range."""
    with pytest.raises(ConfigurationError, match=f"{name} must be .*got a value of type int"):
        kind(**{name: sign * 10**5000})
