"""Bytes over connections: the pool, the transports, TLS and timers; it knows no model."""
