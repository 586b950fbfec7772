"""Traces and metrics of every call, by OpenTelemetry's GenAI semantic conventions.

::

    from llama_dashscope.otel import instrument

    instrument()  # spans and metrics go to the providers of the program's OpenTelemetry SDK

Programs that are started with `opentelemetry-instrument` need no code at all.
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
