"""Sockets on asyncio for httpcore: a network backend of our own."""
