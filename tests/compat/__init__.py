"""`Generation`, the official SDK's class on this package's engine."""
