"""The pytest plugin under a module name for `-p` and `pytest_plugins`."""

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
