"""Types of command-line arguments: functions that convert a text or say what is wrong with it."""

from argparse import ArgumentTypeError
from math import isfinite

from llama_dashscope import ConfigurationError
from llama_dashscope._environment import check_base_url

__all__ = ["above_zero", "address", "whole_above_zero", "zero_or_more"]


def above_zero(text: str) -> float:
    """Read a finite number above 0."""
    number = _number(text)
    if number <= 0:
        raise ArgumentTypeError(f"{text} is not above 0")
    return number


def whole_above_zero(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def zero_or_more(text: str) -> float:
    """Read a finite number that is 0 or more."""
    number = _number(text)
    if number < 0:
        raise ArgumentTypeError(f"{text} is below 0")
    return number


def address(text: str) -> str:
    """Read an http or https address."""
    try:
        return check_base_url(text, repr(text))
    except ConfigurationError as error:
        raise ArgumentTypeError(str(error)) from None


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise ArgumentTypeError(f"{text} is not a number")
    return number
