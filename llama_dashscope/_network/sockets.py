"""Direct queries of a socket."""

import select
import socket

__all__ = ["has_more"]


def has_more(opened: socket.socket) -> bool:
    """Tell whether unread bytes, or the end of the connection, have arrived.

    This runs before each request, so it avoids `selectors`, which is slower.
    """
    number = opened.fileno()
    if number < 0:
        return True  # closed; with TLS the event loop reports this one iteration later
    if hasattr(select, "poll"):
        asking = select.poll()
        asking.register(number, select.POLLIN)
        return bool(asking.poll(0))
    return bool(select.select([number], [], [], 0)[0])  # Windows has no poll
