"""Whether a socket has something to read, asked in each system's way."""

from __future__ import annotations

import select
import socket

import pytest

from llama_dashscope._network.sockets import has_more


@pytest.mark.parametrize("system", ["this", "without poll"])
def test_has_more(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes count, and so does the end."""
    if system == "without poll":
        monkeypatch.delattr(select, "poll", raising=False)
    near, far = socket.socketpair()
    with near, far:
        before = has_more(near)
        far.send(b"x")
        with_bytes = has_more(near)
        near.recv(9)
        between = has_more(near)
        far.close()
        at_the_end = has_more(near)

    assert (before, with_bytes, between, at_the_end) == (False, True, False, True)
    assert has_more(near)
