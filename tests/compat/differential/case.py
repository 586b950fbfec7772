"""A snippet that runs on both sides, and the ways to make one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from llama_dashscope.testing import Fault, LocalDashScope, Raw

from .observe import Sdk, Snippet, plain

MODEL = "llama3.3-70b-instruct"
LLAMA2 = "llama2-13b-chat-v2"
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
USER = {"role": "user", "content": "介绍一下自己"}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
EACH_WAY = (None, False, True)
"""The values of incremental_output."""
PARAMETERS: dict[str, Any] = {
    "temperature": 0.7,
    "top_p": 0.8,
    "top_k": 50,
    "max_tokens": 100,
    "seed": 1234,
    "stop": ["。", "!"],
    "repetition_penalty": 1.1,
    "presence_penalty": 0.5,
    "enable_search": True,
    "tool_choice": "auto",
    "enable_thinking": False,
    "thinking_budget": 100,
    "n": 2,
    "logprobs": True,
    "top_logprobs": 3,
    "search_options": {"forced_search": True},
    "parallel_tool_calls": True,
    "response_format": {"type": "json_object"},
}


def messages() -> list[dict[str, Any]]:
    """Return a conversation; a new one each time, as an SDK may change what it is given."""
    return [dict(SYSTEM), dict(USER)]


Prepare = Callable[[LocalDashScope], object]
"""What makes the server ready for a case."""


def nothing(server: LocalDashScope) -> None:
    """Leave the server as it is."""


@frozen
class Case:
    """A snippet and the server that it meets."""

    name: str
    snippet: Snippet
    prepare: Prepare = nothing


class Cases(list[Case]):
    """The cases of one subject."""

    def snippet(self, prepare: Prepare = nothing) -> Callable[[Snippet], Snippet]:
        """Make a case of a function, called like it."""

        def add(snippet: Snippet) -> Snippet:
            self.append(Case(snippet.__name__, snippet, prepare))
            return snippet

        return add

    def calls(self, prepare: Prepare = nothing, **calls: Mapping[str, Any]) -> None:
        """Make a case of each set of arguments: the response is looked at as a whole."""
        self.extend(Case(name, calling(given), prepare) for name, given in calls.items())

    def acalls(self, prepare: Prepare = nothing, **calls: Mapping[str, Any]) -> None:
        """Do the same with the async class."""
        self.extend(
            Case(f"async_{name}", acalling(given), prepare) for name, given in calls.items()
        )


def calling(arguments: Mapping[str, Any]) -> Snippet:
    """Return a snippet that makes one call and looks at the whole of what comes back."""

    def snippet(sdk: Sdk) -> object:
        result = sdk.Generation.call(**{"model": MODEL, **arguments})
        return [fields(each) for each in (result if arguments.get("stream") else [result])]

    return snippet


def fields(response: Any) -> dict[str, Any]:
    """Read the fields that the documentation names, and print the response as its sample does."""
    print(response)
    names = ("status_code", "request_id", "code", "message", "output", "usage")
    return {name: plain(response[name]) for name in names}


def replies(*answers: Any) -> Callable[[LocalDashScope], object]:
    """Let the server give these answers."""
    return lambda server: server.reply(answers[0] if len(answers) == 1 else list(answers))


def acalling(arguments: Mapping[str, Any]) -> Snippet:
    """Return a snippet that makes one async call and looks at the whole of what comes back."""

    async def snippet(sdk: Sdk) -> object:
        result = await sdk.AioGeneration.call(**{"model": MODEL, **arguments})
        if arguments.get("stream"):
            return [fields(response) async for response in result]
        return fields(result)

    return snippet


def faults(fault: Fault, first: Prepare = nothing) -> Prepare:
    """Let the server do this for every request."""

    def prepare(server: LocalDashScope) -> None:
        first(server)
        server.fault(fault, times=None)

    return prepare


def body(payload: object) -> Prepare:
    """Let the server answer with exactly this JSON."""
    return replies(
        Raw((json.dumps(payload).encode(),), headers={"content-type": "application/json"})
    )


def frames(*payloads: str) -> Prepare:
    """Let the server send exactly these frames."""
    events = tuple(
        f"id:{number}\nevent:result\n:HTTP_STATUS/200\ndata:{payload}\n\n".encode()
        for number, payload in enumerate(payloads, start=1)
    )
    return replies(Raw(events, headers={"content-type": "text/event-stream"}))


def both(name: str) -> dict[str, dict[str, Any]]:
    """Return the arguments of a call and of a stream."""
    return {
        name: {"messages": messages()},
        f"{name}_stream": {"messages": messages(), "stream": True},
    }
