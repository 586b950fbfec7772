"""The matrix of calls: each method of the client, with each transport, on each event loop."""

from __future__ import annotations

import importlib.util
import itertools
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.to_thread
from attrs import field, frozen

from llama_dashscope import Client, DashScopeError, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from llama_dashscope.testing import LocalDashScope

MODEL = "llama3.3-70b-instruct"
HAS_AIOHTTP = importlib.util.find_spec("aiohttp") is not None

Face = Literal["acall", "astream", "call", "stream"]
Stacks = list[tuple[Literal["httpx", "aiohttp"], Literal["asyncio", "trio"]]]

STACKS: Stacks = [("httpx", "asyncio"), ("httpx", "trio")]
if HAS_AIOHTTP:
    STACKS.append(("aiohttp", "asyncio"))
FACES: list[Face] = ["acall", "astream", "call", "stream"]


@frozen
class Outcome:
    """The outcome of a call."""

    text: str
    """The text that was read, chunk by chunk; for a call that is not streamed, the whole text."""
    response: Response | None
    error: Exception | None
    seconds: float

    @property
    def raised(self) -> DashScopeError:
        """The error, which must be a DashScopeError."""
        assert isinstance(self.error, DashScopeError)
        return self.error


@frozen
class Leg:
    """One combination: a method of the client, a transport, an event loop."""

    face: Face
    transport: Literal["httpx", "aiohttp"]
    backend: Literal["asyncio", "trio"]
    streaming: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "streaming", self.face.endswith("stream"))

    def __str__(self) -> str:
        return f"{self.face}-{self.transport}-{self.backend}"

    def client(
        self,
        server: LocalDashScope,
        **settings: Any,
    ) -> Client:
        """Make a client of the server with this transport."""
        settings = {"base_url": server.base_url, "transport": self.transport, **settings}
        return Client(server.api_key, **settings)

    def ask(
        self,
        client: Client,
        times: int = 1,
        *,
        at_chunk: Callable[[], object] = bool,
        **options: Any,
    ) -> Outcome:
        """Make calls in one event loop, close the client, and return the last outcome.

        Args:
            client: the client to use.
            times: how many calls to make.
            at_chunk: called after each chunk.
            **options: the options of the calls.
        """
        options.setdefault("prompt", "Who are you?")
        outcomes: list[Outcome] = []

        async def ask_async() -> None:
            async with client:
                for _ in range(times):
                    asking = _Asking(client, options, at_chunk)
                    await (asking.astream() if self.streaming else asking.acall())
                    outcomes.append(asking.outcome())

        def ask_sync() -> None:
            with client:
                for _ in range(times):
                    asking = _Asking(client, options, at_chunk)
                    (asking.stream if self.streaming else asking.call)()
                    outcomes.append(asking.outcome())

        if self.face.startswith("a"):
            anyio.run(ask_async, backend=self.backend)
        elif self.backend == "trio":
            anyio.run(anyio.to_thread.run_sync, ask_sync, backend="trio")
        else:
            ask_sync()
        return outcomes[-1]


class _Asking:
    """One call and its outcome."""

    def __init__(
        self, client: Client, options: dict[str, Any], at_chunk: Callable[[], object]
    ) -> None:
        self._client = client
        self._options = options
        self._at_chunk = at_chunk
        self._text = ""
        self._response: Response | None = None
        self._error: Exception | None = None
        self._started = monotonic()

    def outcome(self) -> Outcome:
        return Outcome(self._text, self._response, self._error, monotonic() - self._started)

    async def acall(self) -> None:
        try:
            self._response = await self._client.acall(MODEL, **self._options)
            self._text = self._response.text
        except Exception as error:
            self._error = error

    async def astream(self) -> None:
        try:
            async with self._client.astream(MODEL, **self._options) as stream:
                async for chunk in stream:
                    self._text += chunk.delta
                    self._at_chunk()
                self._response = stream.response
        except Exception as error:
            self._error = error

    def call(self) -> None:
        try:
            self._response = self._client.call(MODEL, **self._options)
            self._text = self._response.text
        except Exception as error:
            self._error = error

    def stream(self) -> None:
        try:
            with self._client.stream(MODEL, **self._options) as stream:
                for chunk in stream:
                    self._text += chunk.delta
                    self._at_chunk()
                self._response = stream.response
        except Exception as error:
            self._error = error


LEGS = [Leg(face, *stack) for face, stack in itertools.product(FACES, STACKS)]


def ask(
    stack: tuple[str, str], base_url: str, times: int = 1, *, prompt: str = "hi", **settings: Any
) -> Response:
    """Make calls with a new client, and return the last answer."""
    settings = {"transport": stack[0], "retry": 0, **settings}

    async def main() -> Response:
        async with Client("sk-local", base_url=base_url, **settings) as client:
            for _ in range(times - 1):
                await client.acall(MODEL, prompt)
            return await client.acall(MODEL, prompt)

    return anyio.run(main, backend=stack[1])
