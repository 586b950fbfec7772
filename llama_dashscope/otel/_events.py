"""The event with the messages of a call, emitted by OpenTelemetry's logs API."""

from collections.abc import Mapping
from typing import Any

# The API's only name; it keeps the underscore until OpenTelemetry declares it stable.
from opentelemetry import _logs
from opentelemetry.context import Context

from ._names import DETAILS

__all__ = ["DetailsLogger"]


class DetailsLogger:
    """Emits one event per call.

    Args:
        scope: the instrumentation scope.
        version: the scope's version.
        provider: the logger provider; None for the program's.
    """

    def __init__(self, scope: str, version: str, provider: Any) -> None:
        """Get the logger."""
        self._logger = _logs.get_logger(scope, version, provider)

    def emit(self, attributes: Mapping[str, Any], context: Context) -> None:
        """Emit the event of a call, which belongs to the call's span."""
        record = _logs.LogRecord(event_name=DETAILS, attributes=dict(attributes), context=context)
        self._logger.emit(record)
