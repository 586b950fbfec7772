"""What the tests of the network share: each transport on each event loop."""

from __future__ import annotations

import pytest
from client_matrix import ROADS


@pytest.fixture(params=ROADS, ids="-".join)
def road(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Go by each transport on each event loop that has it."""
    transport, backend = request.param
    return transport, backend
