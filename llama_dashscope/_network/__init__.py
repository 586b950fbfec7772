"""Connections: the pool, the transports, TLS and timers. Nothing here knows the models."""
