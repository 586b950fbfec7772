"""Usage added up: tokens, and whatever else the service counts."""

from __future__ import annotations

from llama_dashscope import Usage
from llama_dashscope._protocol.usage import add_usage


def test_tokens_are_added_up() -> None:
    """Two calls cost what each of them costs."""
    assert add_usage(Usage(1, 2, 4), Usage(10, 20, 40)) == Usage(11, 22, 44)


def test_what_was_not_counted_adds_nothing() -> None:
    """A call without usage leaves the other's as it is."""
    assert add_usage(None, Usage(1, 2)) == Usage(1, 2)
    assert add_usage(Usage(1, 2), None) == Usage(1, 2)
    assert add_usage(None, None) is None


def test_fields_without_a_name_are_added_up_too() -> None:
    """Numbers are added at any depth; of what is no number the last one counts."""
    one = Usage(extra={"details": {"cached": 1, "text": 2}, "cost": 0.5, "only": 1, "odd": True})
    other = Usage(extra={"details": {"cached": 3}, "cost": 2, "new": "x", "odd": 7})

    total = add_usage(one, other)

    assert total is not None
    assert total.extra == {
        "details": {"cached": 4, "text": 2},
        "cost": 2.5,
        "only": 1,
        "new": "x",
        "odd": 7,
    }
