"""Faults as one line of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from llama_dashscope.testing import (
    DEFAULT_MIX,
    CutStream,
    Drop,
    ErrorStatus,
    Fault,
    Mix,
    RateLimited,
    Stall,
)
from llama_dashscope.testing._service import fault_parser

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.mark.parametrize(
    ("spec", "orders"),
    [
        ("", []),
        ("rate-limited", [(RateLimited(), None)]),
        (" rate-limited * 2 , stall ", [(RateLimited(), 2), (Stall(), None)]),
        ("cut-stream(after=3, how=rst)*1", [(CutStream(after=3, how="rst"), 1)]),
        ("stall(seconds=inf)", [(Stall(), None)]),
        ("stall()", [(Stall(), None)]),
        (
            "error-status(status=418,code=Tea,retry_after=5)*1",
            [(ErrorStatus(418, "Tea", retry_after="5"), 1)],
        ),
    ],
)
def test_faults_in_a_row(spec: str, orders: Sequence[tuple[Fault, int | None]]) -> None:
    """Names, arguments and how many times, in any spacing."""
    assert [(each.fault, each.times) for each in fault_parser.parse_faults(spec)] == orders


def mix(spec: str, seed: int | None = None) -> Mix:
    """Read a spec that makes one mix."""
    (order,) = fault_parser.parse_faults(spec, seed)
    assert isinstance(order.fault, Mix)
    return order.fault


def test_a_random_mix() -> None:
    """A share in percent makes a mix, of all that passes quickly or of what is named."""
    assert (mix("5%").rate, mix("5%").faults) == (0.05, DEFAULT_MIX)
    assert mix("12.5% rate-limited, drop(how=fin)").faults == [RateLimited(), Drop("fin")]
    assert mix("100%", seed=3).seed == 3


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tea", "no fault is called 'tea'; there are black-hole, close-idle, cut-stream, "),
        ("fault", "no fault is called 'fault'"),
        ("stall(how=rst)", "stall has no 'how'; it has after, seconds"),
        ("stall(after=x)", "stall: after must be a number, got 'x'"),
        ("stall(after)", "stall: after must be a number, got ''"),
        ("drop(how=tea)", "drop: how must be one of fin, rst, got 'tea'"),
        ("stall drop", "can't read 'stall drop'"),
        ("stall*many", r"can't read 'stall\*many'"),
        ("stall*0", r"can't read 'stall\*0'"),
        ("(", r"can't read '\('"),
        ("120%", "up to 100%"),
        ("5% stall*2", "its faults have no number"),
    ],
)
def test_what_can_not_be_read(spec: str, message: str) -> None:
    """The error says what is wrong, and what could be there."""
    with pytest.raises(ValueError, match=message):
        fault_parser.parse_faults(spec)


def test_every_fault_has_a_name() -> None:
    """Each can be asked for by name alone; those of other modules are not among them."""

    class Mine(Fault):
        pass

    assert len(fault_parser.KINDS) == 17
    assert Mine not in fault_parser.KINDS.values()
    assert all(kind() for kind in fault_parser.KINDS.values())
