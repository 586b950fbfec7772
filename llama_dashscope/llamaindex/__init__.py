"""A model for LlamaIndex: `LlamaDashScope`.

::

    llm = LlamaDashScope(model="llama3.3-70b-instruct", temperature=0.7)
    llm.complete("介绍一下自己").text
"""

from importlib import import_module

try:
    import_module("llama_index.core")
except ImportError as _missing:
    raise ImportError(
        "llama_dashscope.llamaindex needs LlamaIndex: pip install 'llama-dashscope[llamaindex]'"
    ) from _missing

from ._llm import LlamaDashScope

__all__ = ["LlamaDashScope"]
