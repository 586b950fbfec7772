"""The package's public face: what it names, what it says, what it costs to import and install."""

from __future__ import annotations

import inspect
import json
import pickle
import subprocess
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import llama_dashscope

INSTALLED = any(metadata.distributions(name="llama-dashscope"))
BASE = {"anyio", "attrs", "cattrs", "httpx"} | {"certifi", "h11", "httpcore"}  # httpx brings these
UNDERNEATH = {
    "exceptiongroup",  # cattrs's and anyio's, before Python 3.11
    "idna",  # httpx's and anyio's
    "sniffio",  # anyio's and httpx's, in older versions
    "typing-extensions",  # cattrs's and anyio's
}


def after_import(expression: str) -> object:
    """Import the package in a fresh Python and return the value of an expression there."""
    program = f"import json, sys, threading, llama_dashscope; print(json.dumps({expression}))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return json.loads(ended.stdout)


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
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return  # a constant or an alias: the docstring below it is for readers and the reference
    members = {f"{name}.{key}": value for key, value in vars(thing).items() if key[0] != "_"}
    silent = [key for key, value in members.items() if is_code(value) and not inspect.getdoc(value)]

    assert inspect.getdoc(thing)
    assert silent == []


@pytest.mark.parametrize("name", llama_dashscope.__all__)
def test_a_public_class_shows_where_it_is_public(name: str) -> None:
    """Tracebacks and reprs name what users import, and pickles find it there."""
    thing = getattr(llama_dashscope, name)
    if not inspect.isclass(thing):
        return

    assert f"{thing.__module__}.{thing.__qualname__}" == f"llama_dashscope.{name}"
    assert pickle.loads(pickle.dumps(thing)) is thing


def is_code(value: object) -> bool:
    """Tell whether a class attribute is something that a reader calls or asks for."""
    return inspect.isroutine(value) or isinstance(value, (property, staticmethod, classmethod))


def test_importing_starts_nothing() -> None:
    """An import opens no socket and starts no thread."""
    assert after_import("threading.active_count()") == 1


def test_importing_loads_no_transport() -> None:
    """What speaks HTTP is loaded with the first call, not with the import."""
    heavy = ["httpx", "httpcore", "h11", "aiohttp", "trio", "http.client", "urllib.request"]

    assert after_import(f"sorted(set({heavy}) & set(sys.modules))") == []


def needs(distribution: str) -> set[str]:
    """Name what an installed distribution asks for, without its extras, on this Python."""
    wanted = map(Requirement, metadata.requires(distribution) or ())
    return {
        canonicalize_name(each.name)
        for each in wanted
        if not each.marker or each.marker.evaluate({"extra": ""})
    }


@pytest.mark.skipif(not INSTALLED, reason="run from a checkout, the package has no metadata")
def test_the_base_install_is_small() -> None:
    """Without extras the package asks for seven others, and they for nothing beyond their needs."""
    found = needs("llama-dashscope")

    assert found == BASE

    while more := {each for name in found for each in needs(name)} - found:
        found |= more

    assert found <= BASE | UNDERNEATH
