"""This package under the official SDK's name, alone and in front of the SDK."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import llama_dashscope
from llama_dashscope import ConfigurationError, InputRequired, compat
from llama_dashscope.compat import as_dashscope, response_types
from llama_dashscope.compat._as_dashscope import MODULES
from llama_dashscope.testing import LocalDashScope

ROOT = Path(__file__).parents[2]
MODEL = "llama3.3-70b-instruct"
MESSAGES = [{"role": "user", "content": "hi"}]

PROGRAM = """
import dashscope
import dashscope.aigc.generation
from dashscope import AioGeneration, Generation
from dashscope.aigc.generation import Generation as Deep
from dashscope.api_entities.dashscope_response import GenerationResponse, Message, Role
from dashscope.common.error import AuthenticationError, InputRequired
from dashscope.version import __version__

dashscope.api_key, dashscope.base_http_api_url = KEY, ADDRESS
assert Generation is Deep is dashscope.aigc.generation.Generation is dashscope.Generation
response = Generation.call(MODEL, messages=[Message(Role.USER, "hi")])
assert isinstance(response, GenerationResponse), type(response)
assert dashscope.base_http_api_url == ADDRESS
try:
    Generation.call(MODEL)
except InputRequired:
    dashscope.api_key = None
try:
    Generation.call(MODEL, "hi")
except AuthenticationError:
    said = response.output.text
"""


def run(server: LocalDashScope) -> dict[str, Any]:
    """Run a program that knows nothing but the official SDK, and return its names."""
    names: dict[str, Any] = {"KEY": server.api_key, "ADDRESS": server.base_url, "MODEL": MODEL}
    exec(PROGRAM, names)  # noqa: S102  as it would stand in its own file
    return names


@pytest.fixture
def without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the settings of the package back after a test."""
    for name in ("api_key", "api_key_file_path", "base_http_api_url"):
        monkeypatch.setattr(llama_dashscope, name, None)


@pytest.fixture
def without_sdk(monkeypatch: pytest.MonkeyPatch, without_settings: None) -> Iterator[None]:
    """Let the official SDK seem not to be installed."""
    del without_settings
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if is_sdk(name)}
    monkeypatch.setattr("llama_dashscope.compat._as_dashscope.find_spec", nothing)
    yield
    for name in list(sys.modules):
        if is_sdk(name):
            del sys.modules[name]
    sys.modules.update(hidden)


def nothing(name: str) -> None:
    """Find no module."""


def is_sdk(name: str) -> bool:
    """Tell whether a module is the official SDK's."""
    return name.partition(".")[0] == "dashscope"


STANDING_FOR_THE_SDK = {
    "__init__": """
from . import aigc, api_entities, common, version
from .aigc.generation import AioGeneration, Generation
__version__ = version.__version__
api_key = api_key_file_path = base_http_api_url = None
class MultiModalConversation: pass
""",
    "version": "__version__ = '9.9'",
    "aigc/__init__": "from . import generation",
    "aigc/generation": "class Generation: pass\nclass AioGeneration: pass",
    "api_entities/__init__": "from . import dashscope_response",
    "api_entities/dashscope_response": "".join(
        f"class {each.__name__}: pass\n" for each in response_types.TYPES
    ),
    "common/__init__": "from . import error",
    "common/error": "".join(
        f"class {name}(Exception): pass\n" for name in MODULES["dashscope.common.error"]
    ),
}
"""A package with the names of the official SDK, for where that one is not installed."""


@pytest.fixture(params=["real", "fake"])
def sdk(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, without_settings: None
) -> Any:
    """Return the official SDK, or one that is like it; its settings are its own after the test."""
    del without_settings
    if request.param == "fake":
        request.getfixturevalue("fake_sdk")
    found = pytest.importorskip("dashscope", reason="the official SDK is not installed")
    for name in ("api_key", "base_http_api_url"):
        monkeypatch.setattr(found, name, None)
    return found


@pytest.fixture
def fake_sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_sdk: None) -> None:
    """Install a package that is like the official SDK."""
    del without_sdk
    for name, source in STANDING_FOR_THE_SDK.items():
        path = tmp_path / "dashscope" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    monkeypatch.setattr("llama_dashscope.compat._as_dashscope.find_spec", find_spec)


@pytest.mark.usefixtures("without_sdk")
def test_a_program_of_the_sdk_runs_as_it_stands(server: LocalDashScope) -> None:
    """Its imports find this package, and its settings are the package's."""
    server.reply("hello")
    with as_dashscope():
        names = run(server)

    assert names["said"] == "hello"
    assert names["Generation"] is llama_dashscope.Generation
    for ours in ("set_region", "close_shared_aio_session", "close_shared_sync_session"):
        assert getattr(names["dashscope"], ours) is getattr(llama_dashscope, ours)
    assert names["__version__"] == "2.0.2"
    assert llama_dashscope.base_http_api_url == server.base_url
    assert len(server.requests) == 1


@pytest.mark.usefixtures("without_sdk")
def test_it_holds_until_the_end_of_the_block() -> None:
    """After the block the name is free again, and within it a block may stand in another."""
    with as_dashscope():
        outer = sys.modules["dashscope"]
        with as_dashscope():
            assert sys.modules["dashscope"] is not outer
        assert sys.modules["dashscope"] is outer
        assert find_spec("dashscope") is not None

    assert [name for name in sys.modules if is_sdk(name)] == []


@pytest.mark.usefixtures("without_sdk")
def test_it_holds_for_the_process() -> None:
    """Without a block nothing ends it."""
    as_dashscope()

    assert importlib.import_module("dashscope").Generation is llama_dashscope.Generation


@pytest.mark.usefixtures("without_sdk")
def test_what_is_not_here_says_so() -> None:
    """An attribute of the SDK that is not here is an error with what to do; so is an import."""
    with as_dashscope():
        dashscope: Any = importlib.import_module("dashscope")
        with pytest.raises(AttributeError, match=r"dashscope\.MultiModalConversation is missing"):
            _ = dashscope.MultiModalConversation
        with pytest.raises(AttributeError, match=r"dashscope\.common\.api_key is missing"):
            _ = dashscope.common.api_key
        with pytest.raises(ImportError):
            exec("from dashscope import TextEmbedding")  # noqa: S102  as programs do it
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("dashscope.audio")
        dashscope.base_websocket_api_url = "wss://nowhere"  # programs may set what nobody reads

        assert dashscope.base_websocket_api_url == "wss://nowhere"


@pytest.mark.usefixtures("sdk")
def test_the_sdk_is_not_hidden_unasked() -> None:
    """With the SDK installed nothing changes, and the error says what would."""
    before = sys.modules["dashscope"]

    with pytest.raises(ConfigurationError, match=r"as_dashscope\(in_front=True\)"):
        as_dashscope()

    assert sys.modules["dashscope"] is before


def test_in_front_of_the_sdk(server: LocalDashScope, sdk: Any) -> None:
    """Text generation is this package's, all else the SDK's, and the settings are the SDK's."""
    theirs = sdk.Generation
    server.reply("hello")
    with as_dashscope(in_front=True):
        names = run(server)

        assert names["said"] == "hello"
        assert names["Generation"] is llama_dashscope.Generation
        assert names["__version__"] == sdk.__version__
        assert sdk.MultiModalConversation.__module__.partition(".")[0] == "dashscope"
        assert llama_dashscope.base_http_api_url is None
        with pytest.raises(InputRequired):
            names["Generation"].call(MODEL)

    assert sdk.Generation is sdk.aigc.generation.Generation is theirs
    assert compat.GenerationResponse.__module__ == "llama_dashscope.compat"
    assert len(server.requests) == 1
    server.reply("again")
    llama_dashscope.api_key, llama_dashscope.base_http_api_url = server.api_key, server.base_url
    assert compat.Generation.call(MODEL, messages=MESSAGES).output.text == "again"


def test_the_example_of_the_page(server: LocalDashScope) -> None:
    """It runs as it stands, with the official SDK and without."""
    server.reply("hello")
    example = ROOT / "docs/examples/compat/library.py"

    ended = subprocess.run(
        [sys.executable, "-W", "ignore", str(example)],  # the SDK's warnings are its own
        env={**os.environ, **server.environ},
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=50,
    )

    assert (ended.stdout.decode(), ended.returncode) == ("hello\n", 0), ended.stderr
    assert len(server.requests) == 1
