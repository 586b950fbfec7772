"""What a socket can be asked without a library between."""

import select
import socket

__all__ = ["has_more"]


def has_more(opened: socket.socket) -> bool:
    """Tell whether bytes or the end have arrived that nobody has read yet.

    It is asked before each request, so it must cost little: not as `selectors` has it.
    """
    number = opened.fileno()
    if number < 0:
        return True  # closed: with TLS between, the news of it takes another turn of the loop
    if hasattr(select, "poll"):
        asking = select.poll()
        asking.register(number, select.POLLIN)
        return bool(asking.poll(0))
    return bool(select.select([number], [], [], 0)[0])  # Windows has no poll
