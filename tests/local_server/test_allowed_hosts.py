"""Only requests for a name of this machine are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_dashscope import ConfigurationError
from llama_dashscope.testing import LocalDashScope
from llama_dashscope.testing._http_server.allowed_hosts import AllowedHosts

if TYPE_CHECKING:
    from .conftest import Call

LOOPBACK = ["localhost", "LocalHost:80", "a.localhost", "localhost.", "127.0.0.1:8844", "[::1]:1"]
FOREIGN = [
    *("evil.example", "evil.example:8844", "localhost.evil.example", "127.0.0.1.evil.example"),
    *("evil.example@localhost", "localhost:1@evil.example", "[::1", "", ":80", "0x7f000001"),
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback(host: str) -> None:
    """Loopback names and addresses are answered, with any port and in any case."""
    assert AllowedHosts("127.0.0.1").allows(host)


@pytest.mark.parametrize("host", [*FOREIGN, "10.0.0.1"])
@pytest.mark.parametrize("bound", ["127.0.0.1", "::1", "localhost", "192.168.1.2"])
def test_foreign(host: str, bound: str) -> None:
    """Any other name is not, and neither is an address that the server isn't bound to."""
    assert not AllowedHosts(bound).allows(host)


def test_names_of_its_own() -> None:
    """A server is also called by what it is bound to and by the names that it was told."""
    hosts = AllowedHosts("Box.lan", ["Box.example", "192.168.1.2"])

    assert [hosts.allows(host) for host in ("box.lan:1", "box.EXAMPLE", "192.168.1.2")] == [
        True
    ] * 3
    assert not hosts.allows("other.example")


@pytest.mark.parametrize("bound", ["0.0.0.0", "::", ""])
def test_all_interfaces(bound: str) -> None:
    """A server on all interfaces answers to every address, and still to no foreign name."""
    hosts = AllowedHosts(bound)

    assert all(hosts.allows(host) for host in ("10.0.0.1:8844", "[fe80::1]:8844", *LOOPBACK))
    assert not any(hosts.allows(host) for host in FOREIGN)


@pytest.mark.parametrize("name", ["http://box", "box:80", "[::1]", "a b", ""])
def test_what_is_no_name(name: str) -> None:
    """A name with more to it would never be met, so the mistake is told at once."""
    with pytest.raises(ConfigurationError, match="allowed_hosts must be host names"):
        LocalDashScope(allowed_hosts=[name])

    LocalDashScope(allowed_hosts=["fe80::1"])


@pytest.mark.parametrize("host", FOREIGN)
def test_any(host: str) -> None:
    """A star allows every name."""
    assert AllowedHosts("127.0.0.1", ["*"]).allows(host)


@given(st.text())
def test_no_host_breaks_it(host: str) -> None:
    """Whatever the header holds, there is a decision."""
    assert AllowedHosts("127.0.0.1").allows(host) in {True, False}


@pytest.mark.parametrize("path", ["/", "/status.json"])
def test_a_rebound_name_reads_nothing(server: LocalDashScope, call: Call, path: str) -> None:
    """A web page that points its name at this machine sees no prompt: the answer is 421."""
    call("a secret")

    told = httpx.get(server.origin + path, headers={"host": f"evil.example:{server.port}"})

    assert told.status_code == 421
    assert "secret" not in told.text


def test_the_refusal_says_what_to_do(server: LocalDashScope, call: Call) -> None:
    """A call under another name is refused before its key is looked at, also as a stream."""
    for sse in (False, True):
        told = call(sse=sse, headers={"host": "dashscope:8844", "authorization": "none"})

        assert told.status_code == 421
        assert told.json()["code"] == "MisdirectedRequest"
        assert told.json()["message"] == (
            "'dashscope:8844' is not a name of this server. If it should be, allow it by "
            "LocalDashScope(allowed_hosts=...) or serve --allow-host."
        )
    assert [exchange.status for exchange in server.exchanges] == [421, 421]


def test_an_allowed_name() -> None:
    """The argument `allowed_hosts` reaches the server."""
    with LocalDashScope(allowed_hosts=["dashscope"]) as server:
        told = httpx.get(server.origin, headers={"host": "dashscope:8844"})

    assert told.status_code == 200


@pytest.mark.parametrize(("bound", "host"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]")])
def test_an_address_that_clients_can_use(bound: str, host: str) -> None:
    """Where it listens on all interfaces, its own address is a loopback one."""
    with LocalDashScope(host=bound) as server:
        assert server.origin == f"http://{host}:{server.port}"
        assert httpx.get(server.origin).status_code == 200
