"""What the tests of the network share: each transport on each event loop."""

from __future__ import annotations

import pytest
from client_matrix import STACKS


@pytest.fixture(params=STACKS, ids="-".join)
def stack(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Go by each transport on each event loop that has it."""
    transport, backend = request.param
    return transport, backend
