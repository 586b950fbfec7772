"""The pytest plugin by the name that `-p` and `pytest_plugins` take."""

from _llama_dashscope_pytestplugin import (
    dashscope,
    dashscope_options,
    dashscope_server,
    pytest_configure,
    pytest_runtest_makereport,
)

__all__ = [
    "dashscope",
    "dashscope_options",
    "dashscope_server",
    "pytest_configure",
    "pytest_runtest_makereport",
]
