"""Traces and metrics of every call, by the GenAI conventions of OpenTelemetry.

::

    from llama_dashscope.otel import instrument

    instrument()  # spans and metrics go where the program's OpenTelemetry SDK sends them

Programs that are started with `opentelemetry-instrument` need no line of code.
"""

from importlib import import_module

try:
    import_module("opentelemetry.trace")
except ImportError as _missing:
    raise ImportError(
        "llama_dashscope.otel needs opentelemetry-api: pip install 'llama-dashscope[otel]'"
    ) from _missing

from ._instrumentation import LlamaDashScopeInstrumentor, instrument, uninstrument

__all__ = ["LlamaDashScopeInstrumentor", "instrument", "uninstrument"]
