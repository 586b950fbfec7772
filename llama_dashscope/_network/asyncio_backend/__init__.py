"""A network backend for httpcore on asyncio."""
