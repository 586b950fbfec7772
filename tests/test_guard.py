"""The rule that tests stay on this machine holds, here and in the programs that tests start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

ELSEWHERE = ("192.0.2.1", 80)  # an address that RFC 5737 keeps for documents


def test_a_connection_to_another_machine_is_refused() -> None:
    """Connecting beyond loopback raises before a packet leaves."""
    with socket.socket() as sock, pytest.raises(RuntimeError, match="stay on loopback"):
        sock.connect(ELSEWHERE)


def test_a_name_of_another_machine_is_not_looked_up() -> None:
    """Names resolve as on a machine without DNS."""
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("example.com", 443)


def test_loopback_stays_open() -> None:
    """A server on an ephemeral port of 127.0.0.1 is reached."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


def test_a_program_started_by_a_test_is_held_as_well() -> None:
    """The hook is in child processes too."""
    program = f"import socket; socket.socket().connect({ELSEWHERE})"

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert ended.returncode == 1
    assert b"stay on loopback" in ended.stderr


def test_the_environment_is_clean() -> None:
    """Neither a key nor an address nor a proxy of the machine reaches a test."""
    found = [name for name in os.environ if "DASHSCOPE" in name or "PROXY" in name.upper()]

    assert found == []
