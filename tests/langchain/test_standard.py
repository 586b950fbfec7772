"""LangChain's standard tests of a chat model, its unit tests and its integration tests.

Eight of them are passed over: those of pictures, sound, PDF and Anthropic's blocks, since Llama
text models take text alone; that of serialising, since a model holds a client with connections;
and that of recorded answers, since the service is on this machine and nothing is recorded.
"""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("langchain_tests", reason="LangChain's tests run in the session guests")

from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from llama_dashscope.langchain import ChatLlamaDashScope
from llama_dashscope.testing import LocalDashScope

from .conftest import MODEL

pytestmark = pytest.mark.anyio


class TestUnit(ChatModelUnitTests):
    """What a chat model must be, without a service."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        """Test our model."""
        return ChatLlamaDashScope

    @property
    def chat_model_params(self) -> dict[str, Any]:
        """Make it with the least that it takes."""
        return {"model": MODEL, "api_key": "sk-local"}

    @property
    def model_override_value(self) -> str:
        """Name another model for one call."""
        return "llama3.1-8b-instruct"

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        """Make it with a key in its environment, which `Client` reads when it is made."""
        return {"DASHSCOPE_API_KEY": "sk-env"}, {"model": MODEL}, {"model": MODEL}


class TestIntegration(ChatModelIntegrationTests):
    """What a chat model must do, against a DashScope on this machine."""

    @pytest.fixture(autouse=True)
    def _at(self, server: LocalDashScope) -> None:
        self.base_url = server.base_url

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        """Test our model."""
        return ChatLlamaDashScope

    @property
    def chat_model_params(self) -> dict[str, Any]:
        """Point it at this machine."""
        return {"model": MODEL, "api_key": "sk-local", "base_url": self.base_url}

    @property
    def model_override_value(self) -> str:
        """Name another model for one call."""
        return "llama3.1-8b-instruct"

    @property
    def supports_json_mode(self) -> bool:
        """`response_format` is sent as it is asked for."""
        return True
