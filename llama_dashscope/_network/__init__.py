"""Connections: the pool, the transports, TLS and timers. Nothing here depends on `_protocol`."""
