"""What a socket can be asked without a library between."""

import selectors
import socket
from typing import Final

__all__ = ["has_more"]

Selector: Final = getattr(selectors, "PollSelector", selectors.SelectSelector)
"""Asks for one socket at once; Windows has no poll."""


def has_more(opened: socket.socket) -> bool:
    """Tell whether bytes or the end have arrived that nobody has read yet."""
    if opened.fileno() < 0:
        return True  # closed: with TLS between, the news of it takes another turn of the loop
    with Selector() as selector:
        selector.register(opened, selectors.EVENT_READ)
        return bool(selector.select(0))
