"""A chat model for LangChain and LangGraph: `ChatLlamaDashScope`.

::

    model = ChatLlamaDashScope(model="llama3.3-70b-instruct", temperature=0.7)
    model.invoke("介绍一下自己").text
"""

from importlib import import_module

try:
    import_module("langchain_core")
except ImportError as _missing:
    raise ImportError(
        "llama_dashscope.langchain needs LangChain: pip install 'llama-dashscope[langchain]'"
    ) from _missing

from ._chat_model import ChatLlamaDashScope

__all__ = ["ChatLlamaDashScope"]
