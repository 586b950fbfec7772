"""Programs that were written for the official SDK, run with it and with this package."""
