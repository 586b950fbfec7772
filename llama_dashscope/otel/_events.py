"""The event that holds what was said, by OpenTelemetry's interface for logs."""

from collections.abc import Mapping
from typing import Any

# Its only name, with an underscore for as long as OpenTelemetry does not call it stable.
from opentelemetry import _logs
from opentelemetry.context import Context

from ._names import DETAILS

__all__ = ["DetailsLogger"]


class DetailsLogger:
    """Emits one event a call.

    Args:
        scope: the instrumentation scope.
        version: its version.
        provider: where events go; None for the program's.
    """

    def __init__(self, scope: str, version: str, provider: Any) -> None:
        """Get the logger."""
        self._logger = _logs.get_logger(scope, version, provider)

    def emit(self, attributes: Mapping[str, Any], context: Context) -> None:
        """Emit the event of a call, which belongs to the call's span."""
        record = _logs.LogRecord(event_name=DETAILS, attributes=dict(attributes), context=context)
        self._logger.emit(record)
