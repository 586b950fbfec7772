"""What is looked at on both sides: requests as the server got them, values as the caller sees."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast

from attrs import frozen
from official_sdk import closing_its_session

from llama_dashscope.testing import LocalDashScope, ReceivedRequest

TELEMETRY = {"user-agent", "x-dashscope-sdk-client", "x-dashscope-sdk-session-id"}
"""Headers that say which program called."""
CARRIAGE = {"host", "content-length", "connection", "accept-encoding", "cookie"}
"""Headers that are the HTTP library's own."""
CHARSET = re.compile(r";\s*charset=utf-8$")
REQUEST_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CALL_ID = re.compile(r"call_\d+_")


class Sdk(Protocol):
    """Either package: the names that the snippets use."""

    api_key: str | None
    api_key_file_path: str | None
    base_http_api_url: str | None
    Generation: Any
    AioGeneration: Any
    set_region: Any


Snippet = Callable[[Any], object]


@frozen
class Outcome:
    """Everything that a snippet did, in plain values."""

    sent: list[dict[str, Any]]
    seen: object
    printed: str


def run(snippet: Snippet, sdk: Sdk, server: LocalDashScope) -> Outcome:
    """Run a snippet against a server and return what it did; an exception is a value too."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            result = snippet(sdk)
            if inspect.iscoroutine(result):
                result = asyncio.run(closing_its_session(result))
            seen = plain(result)
        except Exception as error:
            seen = {"raised": type(error).__name__}
    server.wait_idle()
    return Outcome([wire(request) for request in server.requests], seen, same(printed.getvalue()))


def wire(request: ReceivedRequest) -> dict[str, Any]:
    """Return what of a request the service reads."""
    headers = {
        name: CHARSET.sub("", value)
        for name, value in request.headers.items()
        if name not in TELEMETRY | CARRIAGE
    }
    return {
        "method": request.method,
        "path": request.path,
        "headers": headers,
        "body": request.json,
    }


def plain(value: object) -> object:
    """Return a value without the types that carry it, and without what is new in every call."""
    if isinstance(value, str):
        return same(value)
    if isinstance(value, Mapping) or hasattr(value, "keys"):
        items = cast("Mapping[str, Any]", value)
        return {key: plain(items[key]) for key in items.keys()}  # noqa: SIM118  both kinds have it
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in cast("Iterable[object]", value)]
    return value


def same(text: str) -> str:
    """Return a text without the ids that differ from call to call."""
    return CALL_ID.sub("call_N_", REQUEST_ID.sub("ID", text))
