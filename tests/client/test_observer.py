"""Observers hear what happens to a call, whatever way it takes, and can do it no harm."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import anyio
import pytest
from client_matrix import MODEL

from llama_dashscope import (
    APIConnectionError,
    APITimeoutError,
    AttemptEnd,
    CallEnd,
    CallObserver,
    Client,
    IncompleteResponseError,
    ObservedCall,
    RateLimitError,
    Retry,
    Timeout,
    Usage,
    add_observer,
    remove_observer,
)
from llama_dashscope._protocol.request import Payload
from llama_dashscope.testing import (
    BlackHole,
    CutStream,
    LocalDashScope,
    RateLimited,
    Raw,
    Reply,
    Stall,
)

BACKENDS = ["asyncio", "trio"]


class Diary(CallObserver):
    """Notes what it hears of one call."""

    def __init__(self, call: ObservedCall) -> None:
        self.call = call
        self.attempts: list[AttemptEnd] = []
        self.chunks = 0
        self.ends: list[CallEnd] = []

    def attempt_ended(self, attempt: AttemptEnd) -> None:
        """Note it."""
        assert not self.ends
        self.attempts.append(attempt)

    def chunks_arrived(self, count: int) -> None:
        """Count them."""
        assert not self.ends
        self.chunks += count

    def call_ended(self, end: CallEnd) -> None:
        """Note it."""
        self.ends.append(end)

    @property
    def end(self) -> CallEnd:
        """How the call ended; it was told once."""
        [end] = self.ends
        return end


class Shelf:
    """Has a diary of each call."""

    def __init__(self) -> None:
        self.diaries: list[Diary] = []

    def call_started(self, call: ObservedCall) -> Diary:
        """Open a diary."""
        self.diaries.append(Diary(call))
        return self.diaries[-1]

    @property
    def diary(self) -> Diary:
        """The only one."""
        [diary] = self.diaries
        return diary


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    """Observe all calls of a test."""
    made = Shelf()
    add_observer(made)
    add_observer(made)  # once is enough
    yield made
    remove_observer(made)
    remove_observer(made)


@pytest.fixture(params=BACKENDS)
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Run an async function on each backend."""

    def on_backend(function: Callable[..., Any]) -> Any:
        return anyio.run(function, backend=request.param)

    return on_backend


def client(server: LocalDashScope, **options: Any) -> Client:
    """Make a client that does not wait between tries."""
    options.setdefault("retry", Retry(base=0))
    return Client(server.api_key, base_url=server.base_url, **options)


def test_a_call(run: Callable[..., Any], server: LocalDashScope, shelf: Shelf) -> None:
    """It begins with what is sent, and ends with its answer and its tokens."""
    server.reply("hello")

    async def main() -> None:
        async with client(server) as own:
            await own.acall(MODEL, "hi", temperature=0.5)

    run(main)
    diary = shelf.diary
    [attempt] = diary.attempts
    answer = diary.end.read_response()

    assert (diary.call.model, diary.call.streaming) == (MODEL, False)
    assert diary.call.parameters == {"temperature": 0.5, "result_format": "text"}
    assert diary.call.read_input() == {"prompt": "hi"}
    assert diary.call.base_url == server.base_url
    assert diary.call.address == ("127.0.0.1", int(server.base_url.split(":")[2].split("/")[0]))
    assert (attempt.number, attempt.status, attempt.error, attempt.pause) == (1, 200, None, None)
    assert attempt.request_id
    assert attempt.seconds > 0
    assert answer is not None
    assert answer.text == "hello"
    assert (diary.end.error, diary.end.left_early) == (None, False)
    assert diary.end.usage == attempt.usage == answer.usage
    assert diary.chunks == 0


@pytest.mark.parametrize(
    ("base_url", "address"),
    [
        ("https://dashscope.aliyuncs.com/api/v1", ("dashscope.aliyuncs.com", 443)),
        ("http://[::1]/api/v1", ("::1", 80)),
        ("http://h:8080/api/v1", ("h", 8080)),
    ],
)
def test_host_and_port(base_url: str, address: tuple[str, int]) -> None:
    """The port is the scheme's where the address names none."""
    payload = Payload(b"", streaming=False, incremental=True, choices=1)

    assert ObservedCall(base_url, payload).address == address


def test_a_stream(run: Callable[..., Any], server: LocalDashScope, shelf: Shelf) -> None:
    """Its chunks are counted as they arrive; it ends when it was read to its end."""
    server.reply(Reply(pieces=["a", "b", "c"]))

    async def main() -> int:
        async with client(server) as own, own.astream(MODEL, "hi") as stream:
            assert shelf.diary.chunks > 0
            assert shelf.diary.ends == []
            read = len([chunk async for chunk in stream])
            assert shelf.diary.end.error is None
            return read

    assert run(main) == shelf.diary.chunks
    [attempt] = shelf.diary.attempts
    answer = shelf.diary.end.read_response()

    assert answer is not None
    assert answer.text == "abc"
    assert (shelf.diary.end.left_early, attempt.error) == (False, None)
    assert attempt.usage == answer.usage == shelf.diary.end.usage


def test_a_stream_that_is_left(
    run: Callable[..., Any], server: LocalDashScope, shelf: Shelf
) -> None:
    """Leaving early is no failure; what had arrived until then is told."""
    server.fault(Stall(1))

    async def main() -> None:
        async with client(server) as own:
            async with own.astream(MODEL, "hi") as stream:
                await anext(stream)
            assert shelf.diary.end.left_early
            await stream.aclose()

    run(main)
    end = shelf.diary.end
    answer = end.read_response()

    assert answer is not None
    assert answer.text
    assert (end.error, end.usage is not None) == (None, True)


def test_a_stream_that_nobody_closes(
    run: Callable[..., Any], server: LocalDashScope, shelf: Shelf
) -> None:
    """It ends when it is found."""
    server.fault(Stall(1))

    async def main() -> None:
        async with client(server) as own:
            abandoned = [own.astream(MODEL, "hi")]
            await anext(abandoned[0])
            with pytest.warns(ResourceWarning, match="left open"):
                abandoned.clear()
            with anyio.fail_after(5):
                while not shelf.diary.ends:
                    await anyio.sleep(0.01)

    run(main)

    assert shelf.diary.end.left_early


@pytest.mark.parametrize("closing", [False, True])
def test_a_stream_that_outlives_its_loop(
    run: Callable[..., Any], server: LocalDashScope, shelf: Shelf, *, closing: bool
) -> None:
    """It ends with its connections: when its client is closed, or else its event loop."""
    server.fault(Stall(1))
    own = client(server, transport="httpx")
    kept = [own.astream(MODEL, "hi")]

    async def main() -> None:
        await anext(kept[0])
        if closing:
            await own.aclose()

    run(main)

    assert shelf.diary.end.left_early
    assert [each.error for each in shelf.diary.attempts] == [None]
    with pytest.warns(ResourceWarning, match="left open"):
        kept.clear()


def test_a_cancelled_call(run: Callable[..., Any], server: LocalDashScope, shelf: Shelf) -> None:
    """It was given up, by whatever the backend cancels with."""
    server.fault(BlackHole())

    async def main() -> None:
        async with client(server) as own:
            with anyio.move_on_after(0.1):
                await own.acall(MODEL, "hi")

    run(main)
    [attempt] = shelf.diary.attempts
    end = shelf.diary.end

    assert end.left_early
    assert end.error is attempt.error is not None
    assert not isinstance(end.error, Exception)
    assert end.read_response() is None


@pytest.mark.parametrize("streaming", [False, True])
def test_attempts(
    run: Callable[..., Any], server: LocalDashScope, shelf: Shelf, *, streaming: bool
) -> None:
    """Each failed attempt says how long the pause after it is; the last one has none."""
    server.fault(RateLimited(), times=2)

    async def main() -> None:
        async with client(server) as own:
            if streaming:
                async with own.astream(MODEL, "hi") as stream:
                    await stream.aread()
            else:
                await own.acall(MODEL, "hi")

    run(main)
    first, second, third = shelf.diary.attempts

    assert [each.number for each in (first, second, third)] == [1, 2, 3]
    assert isinstance(first.error, RateLimitError)
    assert (first.status, first.pause is not None, second.pause is not None) == (429, True, True)
    assert first.request_id == first.error.request_id != third.request_id
    assert (third.error, third.pause, shelf.diary.end.error) == (None, None, None)


def test_a_call_that_fails(run: Callable[..., Any], server: LocalDashScope, shelf: Shelf) -> None:
    """The error is the one that the caller gets, told with its request id."""
    server.fault(RateLimited())
    caught: list[RateLimitError] = []

    async def main() -> None:
        async with client(server, retry=0) as own:
            try:
                await own.acall(MODEL, "hi")
            except RateLimitError as error:
                caught.append(error)

    run(main)

    end = shelf.diary.end
    assert [end.error] == caught
    assert (end.usage, end.request_id) == (None, caught[0].request_id)
    assert not end.left_early


@pytest.mark.parametrize("streaming", [False, True])
def test_a_failed_call_with_usage(
    run: Callable[..., Any], server: LocalDashScope, shelf: Shelf, *, streaming: bool
) -> None:
    """Where the service counts tokens and fails all the same, the observers know of them."""
    cut = b'{"output":{"text":"a","finish_reason":"null"},"usage":{"output_tokens":7}}'
    server.reply(Raw((cut,), headers={"content-type": "application/json"}))

    async def main() -> None:
        async with client(server) as own:
            ask = own.astream(MODEL, "hi").aread if streaming else partial(own.acall, MODEL, "hi")
            with pytest.raises(IncompleteResponseError):
                await ask()

    run(main)
    [attempt] = shelf.diary.attempts

    assert attempt.usage == shelf.diary.end.usage == Usage(0, 7)


def test_a_stream_that_breaks(
    run: Callable[..., Any], server: LocalDashScope, shelf: Shelf
) -> None:
    """Its failure comes with what had arrived."""
    server.fault(CutStream(after=1))

    async def main() -> None:
        async with client(server) as own:
            with pytest.raises(APIConnectionError):
                async with own.astream(MODEL, "hi") as stream:
                    await stream.aread()

    run(main)
    [attempt] = shelf.diary.attempts
    answer = shelf.diary.end.read_response()

    assert isinstance(shelf.diary.end.error, APIConnectionError)
    assert attempt.error is shelf.diary.end.error
    assert answer is not None
    assert answer.text == shelf.diary.end.error.partial_text
    assert not shelf.diary.end.left_early


def test_the_time_is_over(run: Callable[..., Any], server: LocalDashScope, shelf: Shelf) -> None:
    """An attempt that `total` ends was cancelled; the call has failed."""
    server.fault(BlackHole())

    async def main() -> None:
        async with client(server, timeout=Timeout(total=0.1)) as own:
            with pytest.raises(APITimeoutError):
                await own.acall(MODEL, "hi")

    run(main)

    assert isinstance(shelf.diary.end.error, APITimeoutError)
    assert not shelf.diary.end.left_early


def test_sync_code(server: LocalDashScope, shelf: Shelf) -> None:
    """Sync calls and streams are told like any other."""
    with client(server) as own:
        own.call(MODEL, "hi")
        with own.stream(MODEL, "hi") as stream:
            stream.read()

    assert [each.call.streaming for each in shelf.diaries] == [False, True]
    assert [each.end.error for each in shelf.diaries] == [None, None]
    assert shelf.diaries[1].chunks > 0


class Careless(Diary):
    """Raises at whatever it hears."""

    def request_headers(self) -> Mapping[str, str]:
        """Fail."""
        raise ValueError("no headers")

    def attempt_ended(self, attempt: AttemptEnd) -> None:
        """Hear what it should not."""
        raise AssertionError(attempt)


@pytest.mark.parametrize("early", [False, True])
def test_an_observer_that_fails(
    server: LocalDashScope,
    shelf: Shelf,
    caplog: pytest.LogCaptureFixture,
    *,
    early: bool,
) -> None:
    """The call goes on, other observers hear of it, and the log says what went wrong."""

    class Broken:
        def call_started(self, call: ObservedCall) -> CallObserver:
            if early:
                raise ValueError("not today")
            return Careless(call)

    broken = Broken()
    add_observer(broken)
    with client(server) as own:
        assert own.call(MODEL, "hi").text
    remove_observer(broken)

    [record] = [each for each in caplog.records if each.levelno == logging.ERROR]
    what = "no events of this call" if early else "no further events of this call"
    assert record.getMessage() == f"an observer failed; it gets {what}"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)
    assert shelf.diary.end.error is None


def test_headers_of_observers(server: LocalDashScope) -> None:
    """What an observer wants to be sent goes with each attempt."""

    class Marking(CallObserver):
        def request_headers(self) -> Mapping[str, str]:
            return {"Traceparent": "00-1-2-01"}

    class Marker:
        def call_started(self, call: ObservedCall) -> CallObserver | None:
            return None if call.streaming else Marking()

    marker = Marker()
    add_observer(marker)
    server.fault(RateLimited())
    with client(server) as own:
        own.call(MODEL, "hi")
        own.stream(MODEL, "hi").read()
    remove_observer(marker)

    sent = [each.headers.get("traceparent") for each in server.requests]

    assert sent == ["00-1-2-01", "00-1-2-01", None]


def test_what_the_log_says_of_an_attempt(
    server: LocalDashScope, caplog: pytest.LogCaptureFixture
) -> None:
    """Each line has its facts as fields, for logs that are searched."""
    caplog.set_level(logging.DEBUG, "llama_dashscope")
    server.fault(RateLimited())

    with client(server) as own:
        first = own.call(MODEL, "hi")
        with own.stream(MODEL, "hi") as stream:
            answer = stream.read()
    refused, answered, streamed = [each for each in caplog.records if "attempt" in each.msg]

    assert (vars(refused)["status"], vars(refused)["attempt"]) == (429, 1)
    assert (vars(answered)["status"], vars(answered)["attempt"]) == (200, 2)
    assert vars(refused)["tokens"] is None
    assert answer.usage is not None
    assert vars(streamed)["tokens"] == answer.usage.total_tokens
    assert vars(streamed)["request_id"] == answer.request_id
    assert vars(streamed)["seconds"] > 0
    host = f"{server.host}:{server.port}"
    said = [each.getMessage().rpartition(", ")[0] for each in (refused, answered)]
    assert said[0].startswith(f"{host} attempt 1: RateLimitError ")
    assert said[1] == (f"{host} attempt 2: answered (status 200, request_id {first.request_id})")
    for record in (refused, answered):
        shown = int(record.getMessage().rpartition(", ")[2].removesuffix(" ms"))
        assert shown == round(vars(record)["seconds"] * 1000)


def test_what_is_no_observer() -> None:
    """It is refused at once; otherwise every call would log its failure."""
    untyped: Any = "print"

    with pytest.raises(TypeError, match="with a method call_started, got str"):
        add_observer(untyped)


def test_an_observer_that_fails_at_a_chunk(
    server: LocalDashScope, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told no more of this stream, which goes on."""

    class Broken(CallObserver):
        def chunks_arrived(self, count: int) -> None:
            raise LookupError(count)

        def call_ended(self, end: CallEnd) -> None:
            ended.append(end)

    class Watching:
        def call_started(self, call: ObservedCall) -> CallObserver:
            del call
            return Broken()

    ended: list[CallEnd] = []
    add_observer(watching := Watching())
    try:
        server.reply("one two three")
        with (
            Client(server.api_key, base_url=server.base_url) as client,
            client.stream(MODEL, "hi") as stream,
        ):
            assert stream.read().text == "one two three"
    finally:
        remove_observer(watching)

    assert ended == []
    assert "an observer failed" in caplog.text
