"""Run a program's scenarios against a DashScope of this machine, and print what came of them.

Usage: run.py theirs|ours PROGRAM

PROGRAM is a file whose functions named `scenario_...` say in REPLIES what the model answers. It
imports what it needs of the official SDK; for `ours` this package stands in front of that.
"""

import asyncio
import inspect
import json
import os
import re
import runpy
import sys
from collections.abc import Callable
from typing import Any

from llama_dashscope.compat import as_dashscope
from llama_dashscope.testing import LocalDashScope, ReceivedRequest

READ = ("accept", "authorization", "content-type", "x-dashscope-sse", "x-dashscope-workspace")
"""The headers that the service reads."""
NEW = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|(?<=call_)\d+(?=_)"
    r'|(?<=-time": ")\d+'
    r'|(?<="date": ")[^"]+'
    r'|"(connection|content-encoding)": "[^"]*", '
)
"""What differs from run to run, or by how the bytes are carried: ids, times, headers of HTTP."""


def sent(request: ReceivedRequest) -> dict[str, Any]:
    """Return what of a request the service reads."""
    headers = {name: request.headers.get(name, "").partition(";")[0] for name in READ}
    return {"path": request.path, "headers": headers, "body": request.json}


def seen(scenario: Callable[[], object]) -> object:
    """Run a scenario and return what it did; an exception is a value too."""
    try:
        result = scenario()
        return asyncio.run(result) if inspect.iscoroutine(result) else result
    except Exception as error:
        return {"raised": f"{type(error).__name__}: {error}"}


def main(side: str, program: str) -> None:
    """Run one side."""
    with LocalDashScope() as server:
        os.environ.update(server.environ)
        if side == "ours":
            as_dashscope(in_front=True)
        names = runpy.run_path(program)
        for name, replies in names["REPLIES"].items():
            server.reset()
            server.reply(list(replies))
            result = seen(names[f"scenario_{name}"])
            server.wait_idle()
            found = {"seen": result, "sent": [sent(each) for each in server.requests]}
            text = json.dumps({name: found}, default=vars, ensure_ascii=False)
            print(NEW.sub("ID", text.replace(server.base_url, "ADDRESS")))
        if side == "ours":
            assert sys.modules["dashscope"].Generation.__module__ == "llama_dashscope"


if __name__ == "__main__":
    main(*sys.argv[1:])
