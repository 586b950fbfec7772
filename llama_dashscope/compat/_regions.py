"""`set_region`: selects the region and the workspace for `Generation`."""

import re
import sys
from typing import Final

from llama_dashscope._sanitize import bounded_repr

__all__ = ["set_region"]

REGIONS: Final = (
    "ap-northeast-1",
    "ap-southeast-1",
    "cn-beijing",
    "cn-hongkong",
    "eu-central-1",
    "us-east-1",
)
"""The regions known to release 2.0.2 of the official SDK."""

WORKSPACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def set_region(region: str, workspace_id: str | None = None) -> None:
    """Send the calls of `Generation` to a workspace in a region, as the official SDK does.

    It sets `llama_dashscope.base_http_api_url`; for a `Client`, use `base_url` instead. Each region
    has its own keys, and only Beijing is documented to have Llama models.

    Args:
        region: name of the region, such as `cn-beijing`.
        workspace_id: id of the workspace there.

    Raises:
        ValueError: the service has no such region, or the workspace id is malformed.
    """
    if region not in REGIONS:
        msg = f"region must be one of {', '.join(REGIONS)}, got {bounded_repr(region)}"
        raise ValueError(msg)
    if not workspace_id or not WORKSPACE.fullmatch(workspace_id):
        msg = f"workspace_id must be the id of a workspace, got {bounded_repr(workspace_id)}"
        raise ValueError(msg)
    address = f"https://{workspace_id}.{region}.maas.aliyuncs.com/api/v1"
    vars(sys.modules["llama_dashscope"])["base_http_api_url"] = address
