"""Arguments of a client that are refused where it is made."""

from typing import Any

import pytest

from llama_dashscope import Client, ConfigurationError, InvalidRequestError
from llama_dashscope._settings import Proxy


@pytest.mark.parametrize("name", ["workspace", "proxy", "verify"])
def test_zero_is_a_mistake(name: str) -> None:
    """A value of the wrong type is named, also where it is false."""
    arguments: dict[str, Any] = {name: 0 if name != "verify" else "no"}

    with pytest.raises(ConfigurationError, match=name):
        Client("sk-test", **arguments)


@pytest.mark.parametrize("name", ["api_key", "workspace"])
def test_zero_is_a_mistake_in_a_call(name: str) -> None:
    """The same for the arguments of one call."""
    arguments: dict[str, Any] = {name: 0}

    with pytest.raises(InvalidRequestError, match=name):
        Client("sk-test").call("llama3.3-70b-instruct", "x", **arguments)


@pytest.mark.parametrize("name", ["api_key", "workspace", "proxy", "base_url"])
def test_empty_is_unset(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty string is the same as nothing: the environment has its say, as without it."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-env")
    monkeypatch.setenv("DASHSCOPE_HTTP_BASE_URL", "https://dashscope.example/api/v1")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    arguments: dict[str, Any] = {name: ""}

    found = Client(**arguments).__getstate__()

    assert found.api_key is not None
    assert found.api_key.reveal() == "sk-env"
    assert found.network.base_url == "https://dashscope.example/api/v1"
    assert found.network.proxy == Proxy("http://proxy.example:3128")
    assert found.workspace is None
