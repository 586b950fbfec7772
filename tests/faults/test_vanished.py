"""No hang: a peer that vanished without FIN or RST is noticed, between two network namespaces."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from client_matrix import HAS_AIOHTTP

PROGRAM = Path(__file__).parents[1] / "_support" / "vanish.py"
# It lets nobody leave loopback, and the cable is not loopback.
GUARD = str(Path(__file__).parents[1] / "_support" / "guard")
TRANSPORTS = ["httpx", "aiohttp"] if HAS_AIOHTTP else ["httpx"]


def obstacle() -> str:
    """Say why there can be no namespaces; empty where there can."""
    if not (shutil.which("unshare") and shutil.which("ip")):
        return "network namespaces need unshare and iproute2"
    lay = "ip link add here type veth peer name there"
    tried = subprocess.run(["unshare", "-rn", *lay.split()], capture_output=True, check=False)
    return f"network namespaces are not allowed: {tried.stderr!r}" if tried.returncode else ""


WHY_NOT = obstacle()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


def notice(*arguments: str, timeout: float) -> dict[str, Any]:
    """Run the program and return what it saw."""
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(set(paths) - {GUARD})}
    ended = subprocess.run(
        ["unshare", "-rn", sys.executable, PROGRAM, *arguments],
        capture_output=True,
        check=True,
        env=environ,
        timeout=timeout,
    )
    seen: dict[str, Any] = json.loads(ended.stdout)
    return seen


@pytest.mark.parametrize("moment", ["stream", "call", "idle"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_sockets_options_work(transport: str, moment: str) -> None:
    """With probes sped up a vanished peer is noticed at once: in a stream, in a call, when idle."""
    seen = notice(transport, moment, "faster", timeout=50)

    assert seen["error"] == "APIConnectionError"
    assert seen["seconds"] < 20


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("moment", ["stream", "call", "idle"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_within_thirty_seconds(transport: str, moment: str) -> None:
    """As the client comes it takes at most 30 s, where the time limits would take minutes."""
    seen = notice(transport, moment, timeout=100)

    assert seen["error"] == "APIConnectionError"
    assert seen["seconds"] < 30
