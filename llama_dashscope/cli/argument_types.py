"""Types of command-line arguments: each turns a text into a value or says what is wrong with it."""

from argparse import ArgumentTypeError
from math import isfinite

from llama_dashscope import ConfigurationError
from llama_dashscope._environment import check_base_url

__all__ = ["above_zero", "address", "whole_above_zero", "zero_or_more"]


def above_zero(text: str) -> float:
    """Read a number of seconds or tokens that can't be 0."""
    number = _number(text)
    if number <= 0:
        raise ArgumentTypeError(f"{text} is not above 0")
    return number


def whole_above_zero(text: str) -> int:
    """Read a number of things."""
    if not text.isdecimal() or int(text) == 0:
        raise ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def zero_or_more(text: str) -> float:
    """Read a number of seconds."""
    number = _number(text)
    if number < 0:
        raise ArgumentTypeError(f"{text} is below 0")
    return number


def address(text: str) -> str:
    """Read an address of HTTP."""
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
