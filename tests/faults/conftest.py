"""Every test here that asks for a `leg` runs on each of them."""

from __future__ import annotations

import pytest

from faults.legs import LEGS, Leg


@pytest.fixture(params=LEGS, ids=str)
def leg(request: pytest.FixtureRequest) -> Leg:
    """Go one way at a time."""
    assert isinstance(request.param, Leg)
    return request.param
