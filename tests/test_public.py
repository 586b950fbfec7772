"""The package's public face: what it names, what it says, what it costs to import and install."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement

import llama_dashscope

BASE = {"anyio", "attrs", "cattrs", "httpx"}
ALLOWED = BASE | {
    "certifi",  # httpx's and httpcore's
    "exceptiongroup",  # cattrs's and anyio's, before Python 3.11
    "h11",  # httpcore's
    "httpcore",  # httpx's
    "idna",  # httpx's and anyio's
    "sniffio",  # anyio's and httpx's, in older versions
    "typing-extensions",  # cattrs's and anyio's
}


def after_import(expression: str) -> object:
    """Import the package in a fresh Python and return the value of an expression there."""
    program = f"import json, sys, threading, llama_dashscope; print(json.dumps({expression}))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return json.loads(ended.stdout)


def test_all_is_sorted() -> None:
    """`__all__` reads like an index."""
    assert sorted(llama_dashscope.__all__) == list(llama_dashscope.__all__)


def test_all_is_complete() -> None:
    """Every name without an underscore that the package shows is in `__all__`, and no other."""
    shown = {
        name
        for name in dir(llama_dashscope)
        if not name.startswith("_") and not inspect.ismodule(getattr(llama_dashscope, name))
    }

    assert shown == {name for name in llama_dashscope.__all__ if not name.startswith("_")}


@pytest.mark.parametrize("name", llama_dashscope.__all__)
def test_a_public_object_is_documented(name: str) -> None:
    """Public classes and functions say what they are, and so does each of their methods."""
    thing = getattr(llama_dashscope, name)
    silent = (
        [
            member
            for member, value in vars(thing).items()
            if not member.startswith("_") and is_code(value) and not inspect.getdoc(value)
        ]
        if inspect.isclass(thing)
        else []
    )

    assert inspect.getdoc(thing)
    assert silent == []


def is_code(value: object) -> bool:
    """Tell whether a class attribute is something that a reader calls or asks for."""
    return inspect.isroutine(value) or isinstance(value, (property, staticmethod, classmethod))


def test_a_public_object_says_where_it_is_public() -> None:
    """Tracebacks and reprs name the place that users import from, not a private room."""
    named = {
        name: getattr(llama_dashscope, name).__module__
        for name in llama_dashscope.__all__
        if inspect.isclass(getattr(llama_dashscope, name))
    }

    assert named == dict.fromkeys(named, "llama_dashscope")


def test_importing_starts_nothing() -> None:
    """An import opens no socket and starts no thread."""
    assert after_import("threading.active_count()") == 1


def test_importing_loads_no_transport() -> None:
    """What speaks HTTP is loaded with the first call, not with the import."""
    heavy = ["httpx", "httpcore", "aiohttp", "ssl", "asyncio", "trio", "typer", "rich"]

    assert after_import(f"sorted(set({heavy}) & set(sys.modules))") == []


def test_the_base_install_is_small() -> None:
    """Without extras the package asks for four others."""
    wanted = {Requirement(each) for each in requires("llama-dashscope") or ()}

    assert {each.name for each in wanted if "extra" not in str(each.marker)} == BASE


def test_the_base_install_stays_small() -> None:
    """Those four bring nothing beyond what HTTP and older Pythons need."""
    found, waiting = set[str](), ["llama-dashscope"]
    while waiting:
        name = waiting.pop()
        for each in map(Requirement, requires(name) or ()):
            if each.name not in found and (not each.marker or each.marker.evaluate({"extra": ""})):
                found.add(each.name)
                waiting.append(each.name)

    assert {name.lower().replace("_", "-") for name in found} <= ALLOWED
