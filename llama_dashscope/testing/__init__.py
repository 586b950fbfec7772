"""A DashScope that runs on this machine, for tests, demos and failure drills.

from . import LocalDashScope

with LocalDashScope() as server:
    ...  # any client, with server.base_url and server.api_key
"""

from ._local_dashscope import LocalDashScope
from ._service.account_limits import AccountLimits
from ._service.exchange import Exchange
from ._service.faults import (
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
from ._service.received_request import ReceivedRequest
from ._service.scripted_replies import Raw, Reply, ToolCall
from ._upstream.upstream import Upstream

__all__ = [
    "DEFAULT_MIX",
    "AccountLimits",
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
