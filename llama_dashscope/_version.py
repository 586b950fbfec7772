"""The package's version; this is the only place that states it."""

from typing import Final

__all__ = ["__version__"]

__version__: Final = "0.1.0"
