"""A DashScope that runs on this machine, for tests, demos and failure drills.

from . import LocalDashScope

with LocalDashScope() as server:
    ...  # any client, with server.base_url and server.api_key
"""

from ._exchange import Exchange
from ._faults import (
    DEFAULT_MIX,
    BlackHole,
    CloseIdle,
    CutStream,
    Drip,
    Drop,
    ErrorFrame,
    ErrorStatus,
    Fault,
    Garbled,
    GatewayPage,
    Heartbeats,
    Mix,
    Moderated,
    QuotaSpent,
    RateLimited,
    SlowStart,
    StaleConnection,
    Stall,
    Unavailable,
)
from ._reply import Raw, Reply, ToolCall
from ._request import ReceivedRequest
from ._server import LocalDashScope
from ._upstream import Upstream

__all__ = [
    "DEFAULT_MIX",
    "BlackHole",
    "CloseIdle",
    "CutStream",
    "Drip",
    "Drop",
    "ErrorFrame",
    "ErrorStatus",
    "Exchange",
    "Fault",
    "Garbled",
    "GatewayPage",
    "Heartbeats",
    "LocalDashScope",
    "Mix",
    "Moderated",
    "QuotaSpent",
    "RateLimited",
    "Raw",
    "ReceivedRequest",
    "Reply",
    "SlowStart",
    "StaleConnection",
    "Stall",
    "ToolCall",
    "Unavailable",
    "Upstream",
]
