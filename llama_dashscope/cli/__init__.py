"""The command line: `llama-dashscope`."""

from .main import main

__all__ = ["main"]
