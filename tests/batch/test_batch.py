"""`Client.abatch` and `Client.batch` against a DashScope on this machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from attrs import evolve

from llama_dashscope import (
    APIConnectionError,
    AsyncBatch,
    AuthenticationError,
    BatchResult,
    BatchSummary,
    Client,
    ClientClosedError,
    ConfigurationError,
    DashScopeError,
    InternalServerError,
    InvalidRequestError,
    Message,
    Pace,
    Permit,
    QuotaExhaustedError,
    RateLimitError,
    Retry,
    Timeout,
    read_journal,
)
from llama_dashscope.testing import (
    BlackHole,
    CutStream,
    Drop,
    ErrorStatus,
    LocalDashScope,
    Moderated,
    QuotaSpent,
    RateLimited,
    ReceivedRequest,
    Reply,
    SlowStart,
)

MODEL = "llama3.3-70b-instruct"


def questions(count: int) -> list[dict[str, Any]]:
    """Make items with ids of their own."""
    return [{"custom_id": f"q{at}", "prompt": str(at)} for at in range(count)]


def asks(text: str) -> Any:
    """Make a condition for a fault: this is what is asked."""

    def holds(request: ReceivedRequest) -> bool:
        found: dict[str, Any] = request.json["input"]
        return found.get("prompt") == text

    return holds


async def taken(client: Client, items: Any, **options: Any) -> tuple[list[BatchResult], Any]:
    """Run a batch; return its results, and the summary."""
    async with client.abatch(items, model=MODEL, **options) as batch:
        results = [result async for result in batch]
    return results, batch.summary


def texts(results: list[BatchResult]) -> dict[str, str]:
    """Return the answers by id."""
    return {result.custom_id: result.text for result in results}


async def take(batch: AsyncBatch, seen: list[BatchResult]) -> None:
    """Take results until the batch ends, by an error perhaps."""
    async with batch:
        async for result in batch:
            seen.append(result)  # noqa: PERF401  # they are to be there after the error


async def agen(items: list[Any]) -> AsyncIterator[Any]:
    """Give items one by one."""
    for item in items:
        await anyio.lowlevel.checkpoint()
        yield item


@pytest.mark.anyio
async def test_every_item_has_its_answer(client: Client) -> None:
    """Prompts, conversations, dicts and lines of OpenAI's come to answers under their ids."""
    items = [
        "a",
        [Message("user", "b")],
        ({"role": "user", "content": "c"},),
        {"custom_id": "d", "messages": [{"role": "user", "content": "d"}], "temperature": 0.5},
        {
            "custom_id": 5,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"messages": [{"role": "user", "content": "e"}], "model": MODEL},
        },
    ]

    results, summary = await taken(client, items)

    assert texts(results) == {"0": "re: a", "1": "re: b", "2": "re: c", "d": "re: d", "5": "re: e"}
    assert {result.position: result.item for result in results} == dict(enumerate(items))
    assert summary.answered == 5
    assert summary.failed == summary.skipped == summary.left == summary.retries == 0
    assert summary.total_tokens == sum(
        result.response.usage.total_tokens
        for result in results
        if result.response and result.response.usage
    )
    assert all(result.attempts == 1 and result.seconds > 0 for result in results)
    assert 0 < summary.p50 <= summary.p95 <= summary.seconds


@pytest.mark.anyio
async def test_a_line_of_openai(server: LocalDashScope, client: Client) -> None:
    """What the service calls by another name is renamed, what has no name here goes along."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "hi"}],
        "max_completion_tokens": 7,
        "stream": False,
        "temperature": None,
        "logprobs": True,
        "parameters": {"top_logprobs": 2},
    }
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}

    [result], _ = await taken(client, [line])

    assert result.text == "re: hi"
    assert server.requests[0].json["parameters"] == {
        "result_format": "message",
        "max_tokens": 7,
        "logprobs": True,
        "top_logprobs": 2,
    }


@pytest.mark.parametrize("kind", [list, iter, agen])
@pytest.mark.anyio
async def test_items_come_from_anything_that_gives_them(client: Client, kind: Any) -> None:
    """A list, an iterator and an async generator are the same to a batch."""
    results, _ = await taken(client, kind(questions(7)), concurrency=2)

    assert texts(results) == {f"q{at}": f"re: {at}" for at in range(7)}


@pytest.mark.parametrize("ordered", [False, True])
def test_sync_code_has_the_same(client: Client, ordered: bool) -> None:
    """`batch` is `abatch` with `with` and `for`."""
    items = questions(50)

    with client.batch(items, model=MODEL, ordered=ordered, concurrency=7) as batch:
        results = list(batch)

    assert texts(results) == {f"q{at}": f"re: {at}" for at in range(50)}
    assert batch.summary.answered == 50


@pytest.mark.anyio
async def test_sync_code_in_a_worker_thread(client: Client) -> None:
    """There it runs in the application's own event loop."""

    def work() -> BatchSummary:
        with client.batch(questions(5), model=MODEL) as batch:
            return batch.read()

    summary = await anyio.to_thread.run_sync(work)

    assert summary.answered == 5


@pytest.mark.anyio
async def test_results_in_the_order_of_the_items(server: LocalDashScope, client: Client) -> None:
    """The first answer comes last, and the others wait for it, as many as there is room for."""
    server.fault(SlowStart(0.3), when=asks("0"))

    results, _ = await taken(client, iter(questions(30)), ordered=True, concurrency=5)

    assert [result.position for result in results] == list(range(30))


@pytest.mark.anyio
async def test_an_item_that_fails_takes_no_other_with_it(
    server: LocalDashScope, client: Client
) -> None:
    """What is moderated is an error of its item; the summary counts it by its code."""
    server.fault(Moderated(), when=asks("3"))

    results, summary = await taken(client, questions(6))

    [failed] = [result for result in results if result.error]
    assert failed.custom_id == "q3"
    assert failed.attempts == 1
    with pytest.raises(DashScopeError, match="DataInspectionFailed"):
        failed.unwrap()
    assert (summary.answered, summary.failed) == (5, 1)
    assert summary.errors == {"DataInspectionFailed": 1}
    assert "1 x DataInspectionFailed" in str(summary)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "item must be a prompt, a list of messages or a dict"),
        (Message("user", "hi"), "put the message into a list"),
        ({"prompt": "hi", "temprature": 1}, "did you mean temperature"),
        ({"custom_id": ["a"], "prompt": "hi"}, "custom_id of item 0 must be a string"),
        ({"custom_id": "", "prompt": "hi"}, "must be a string, got an empty one"),
        ({None: ["more"], "prompt": "hi"}, "the keys of an item must be strings, got None"),
        ({"prompt": ""}, "prompt is empty"),
        ({"body": "hi"}, "an item with 'body'"),
    ],
)
@pytest.mark.anyio
async def test_an_item_that_is_none(client: Client, given: Any, message: str) -> None:
    """What can't be asked is an error of its item, and nothing was sent for it."""
    results, summary = await taken(client, [given, "b"])

    [wrong, right] = sorted(results, key=lambda result: result.position)
    assert right.text == "re: b"
    assert isinstance(wrong.error, InvalidRequestError)
    assert message in str(wrong.error)
    assert wrong.attempts == 0
    assert summary.errors == {"InvalidRequestError": 1}


@pytest.mark.anyio
async def test_a_model_for_each_item(client: Client) -> None:
    """An item names its model; one without a model is an error."""
    async with client.abatch([{"prompt": "a", "model": MODEL}, "b"], ordered=True) as batch:
        first, second = [result async for result in batch]

    assert first.text == "re: a"
    assert "names no model" in str(second.error)


@pytest.mark.anyio
async def test_options_for_all_and_for_one(server: LocalDashScope, client: Client) -> None:
    """What an item says goes before what the batch says."""
    items = [{"prompt": "a"}, {"prompt": "b", "max_tokens": 7}]

    await taken(client, items, max_tokens=5, seed=1, concurrency=1)

    sent = [request.json["parameters"] for request in server.requests]
    assert [each["max_tokens"] for each in sent] == [5, 7]
    assert [each["seed"] for each in sent] == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"items": "a question"}, "items must be a list"),
        ({"items": 7}, "got int"),
        ({"items": {"prompt": "a"}}, "got dict"),
        ({"items": Message("user", "hi")}, "got Message"),
        ({"concurrency": 0}, "concurrency must be a whole number, 1 or more, got 0"),
        ({"tries": True}, "tries must be a whole number"),
        ({"ordered": "no"}, "ordered must be True or False, got 'no'"),
        ({"again": "all"}, "again must be one of 'passing', 'failed', 'none', got 'all'"),
        ({"journal": ""}, "journal must be the path of a file"),
        ({"journal": 7}, "journal must be the path of a file"),
        ({"journal": "a\0b"}, "journal must be the path of a file"),
        ({"messages": []}, "messages can't be given to a batch: each item has its own"),
        ({"model": ""}, "model must be the name of a model"),
        ({"temperature": "hot"}, "temperature must be a finite number, got 'hot'"),
        ({"timeout": -1}, "timeout.connect must be more than 0 seconds"),
        ({"into": int, "n": 2}, "n must be 1"),
    ],
)
def test_an_argument_that_can_not_be_right(
    client: Client, arguments: dict[str, Any], message: str
) -> None:
    """It is refused before anything is read or sent."""
    arguments = {"items": [], **arguments}

    with pytest.raises(InvalidRequestError) as refused:
        client.batch(**arguments)

    assert message in str(refused.value)


def test_a_keyword_that_there_is_not(client: Client) -> None:
    """A mistyped keyword of the batch is told the nearest one."""
    with pytest.raises(TypeError, match="did you mean temperature"):
        cast("Any", client).batch([], temprature=1)


# what is asked again


@pytest.mark.parametrize("fault", [ErrorStatus(), Drop("fin"), CutStream(0)], ids=str)
@pytest.mark.anyio
async def test_what_passes_is_asked_again(
    server: LocalDashScope, client: Client, fault: Any
) -> None:
    """A failure that may pass, a lost answer too, costs the item a try and not its answer."""
    server.fault(fault, times=2, when=asks("1"))

    results, summary = await taken(client, questions(3))

    assert texts(results)["q1"] == "re: 1"
    assert {result.custom_id: result.attempts for result in results} == {"q0": 1, "q1": 3, "q2": 1}
    assert (summary.retries, summary.refusals) == (2, 0)


@pytest.mark.anyio
async def test_the_last_try(server: LocalDashScope, client: Client) -> None:
    """After `tries` failures the last one is the result."""
    server.fault(ErrorStatus(), times=None)

    results, _ = await taken(client, ["a"], tries=2)

    assert isinstance(results[0].error, InternalServerError)
    assert results[0].attempts == results[0].error.attempts == 2
    assert len(server.requests) == 2


@pytest.mark.anyio
async def test_refusals_count_against_no_item(server: LocalDashScope, client: Client) -> None:
    """However often the account's limits refuse it, an item has all its tries."""
    server.fault(RateLimited(retry_after=0.001), times=9)

    results, summary = await taken(client, ["a"], tries=1)

    assert results[0].text == "re: a"
    assert results[0].attempts == 10
    assert summary.refusals == summary.retries == 9
    assert "9 retries, 9 after refusals (429)" in str(summary)


@pytest.mark.anyio
async def test_a_pace_of_its_own(server: LocalDashScope) -> None:
    """A batch of a client without a pace finds one: a refusal is followed by a pause."""
    server.fault(RateLimited())

    async with Client(server.api_key, base_url=server.base_url, retry=Retry(base=0.0)) as client:
        with anyio.fail_after(20):
            _, summary = await taken(client, questions(3))

    assert (summary.answered, summary.refusals) == (3, 1)
    assert summary.seconds > 0.24


@pytest.mark.anyio
async def test_the_next_batch_knows_the_pace(
    server: LocalDashScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one batch of a client has found out about the limits serves the next."""
    asked = list[Pace]()
    admit = Pace.admit

    def noted(pace: Pace, model: str, tokens: int) -> Awaitable[Permit]:
        asked.append(pace)
        return admit(pace, model, tokens)

    monkeypatch.setattr(Pace, "admit", noted)

    async with Client(server.api_key, base_url=server.base_url) as client:
        for _ in range(2):
            await taken(client, questions(2))
        await client.acall(MODEL, "not in a batch")

    assert len(asked) == 4
    assert len(set(map(id, asked))) == 1


@pytest.mark.anyio
async def test_a_time_limit_begins_when_a_request_is_sent(server: LocalDashScope) -> None:
    """However long the queue for a slow pace, `total` is for the call."""
    pace = Pace(requests_per_minute=600, adaptive=False)
    limits = Timeout(total=0.5)

    async with Client(server.api_key, base_url=server.base_url, pace=pace) as client:
        await client.acall(MODEL, "warm up")
        _, summary = await taken(client, questions(10), timeout=limits, tries=1)

    assert summary.answered == 10
    assert summary.seconds > 0.8


@pytest.mark.anyio
async def test_an_item_of_several_calls(client: Client) -> None:
    """Each of them has its turn, and each is counted."""
    from llama_dashscope._client import batching

    def twice(owner: Any, item: Any) -> Any:
        prepared = prepare(owner, item)

        async def ask(turn: Any) -> Any:
            await prepared.ask(turn)
            return await prepared.ask(turn)

        return evolve(prepared, ask=ask)

    prepare = batching._prepare
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(batching, "_prepare", twice)
        [result], _ = await taken(client, ["a"])

    assert (result.text, result.attempts) == ("re: a", 2)


# what stops a batch


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (QuotaSpent(), QuotaExhaustedError),
        (ErrorStatus(401, "InvalidApiKey", "Invalid API-key provided."), AuthenticationError),
        (RateLimited(retry_after=1_849_295), RateLimitError),
    ],
    ids=["quota", "key", "three weeks"],
)
@pytest.mark.anyio
async def test_what_no_other_item_would_survive_stops_the_batch(
    server: LocalDashScope, client: Client, tmp_path: Path, fault: Any, kind: type[Exception]
) -> None:
    """Nothing more is sent, the journal has no line of it, and the next run asks the rest."""
    journal = tmp_path / "answers.jsonl"
    server.fault(fault, times=None, when=asks("5"))

    results, summary = await taken(client, questions(50), journal=journal, concurrency=1)

    assert [result.custom_id for result in results] == [f"q{at}" for at in range(6)]
    assert isinstance(summary.stopped, kind)
    assert summary.stopped is results[5].error
    assert f"stopped by {kind.__name__}" in str(summary)
    assert len(server.requests) == 6
    assert len(list(read_journal(journal))) == 5

    server.reset()
    _, summary = await taken(client, questions(50), journal=journal)

    assert (summary.answered, summary.skipped, summary.stopped) == (45, 5, None)


@pytest.mark.anyio
async def test_those_that_wait_for_their_turn_go_home(server: LocalDashScope) -> None:
    """Once the quota is spent, nobody waits for a slow pace, only to be refused as well."""
    server.fault(QuotaSpent(), times=None)
    pace = Pace(requests_per_minute=1.0)

    with anyio.fail_after(20):
        async with Client(server.api_key, base_url=server.base_url, pace=pace) as client:
            results, summary = await taken(client, questions(9), concurrency=5)

    assert len(results) == len(server.requests) == 1
    assert summary.left == 5  # those at the gate, and one that was read already
    assert "5 left: the batch was stopped" in str(summary)


@pytest.mark.anyio
async def test_a_batch_can_be_stopped(server: LocalDashScope, client: Client) -> None:
    """What is under way comes to its end, nothing more is sent."""
    async with client.abatch(iter(questions(10_000)), model=MODEL, concurrency=3) as batch:
        first = await anext(batch)
        batch.stop()
        rest = [result async for result in batch]

    assert first.text
    assert all(result.text for result in rest)
    assert len(rest) < 20
    assert batch.summary.answered == len(rest) + 1
    assert batch.summary.stopped is None


@pytest.mark.anyio
async def test_a_stop_ends_the_wait_for_an_item(client: Client) -> None:
    """An input that has nothing more to give, and no end either, holds nothing up."""
    closed: list[bool] = []

    async def waiting() -> AsyncIterator[str]:
        try:
            yield "a"
            await anyio.sleep_forever()
        finally:
            closed.append(True)

    with anyio.fail_after(20):
        async with client.abatch(waiting(), model=MODEL) as batch:
            seen: list[BatchResult] = []
            async for result in batch:
                seen.append(result)
                batch.stop()

    assert [result.text for result in seen] == ["re: a"]
    assert closed == [True]
    assert (batch.summary.answered, batch.summary.left) == (1, 0)


@pytest.mark.anyio
async def test_a_stop_ends_the_wait_before_another_try(
    server: LocalDashScope, tmp_path: Path
) -> None:
    """An item between two tries is left for the next run."""
    server.fault(ErrorStatus(retry_after=50), when=asks("0"))
    pace = Pace(requests_per_minute=1e7)
    items: list[Any] = [{"custom_id": "a", "prompt": "0"}, "b"]
    journal = tmp_path / "answers.jsonl"

    with anyio.fail_after(20):
        async with (
            Client(server.api_key, base_url=server.base_url, pace=pace) as client,
            client.abatch(items, model=MODEL, journal=journal) as batch,
        ):
            await anext(batch)
            await server.await_idle()
            batch.stop()
            assert [result async for result in batch] == []

    assert batch.summary.left == 1
    assert [result.custom_id for result in read_journal(journal)] == ["1"]


@pytest.mark.anyio
async def test_what_was_held_back_comes_at_the_end(server: LocalDashScope, client: Client) -> None:
    """In order, a result waits for those before it; for one that is left it waits in vain."""
    server.fault(RateLimited(retry_after=50), when=asks("0"))

    async with client.abatch(questions(3), model=MODEL, ordered=True) as batch:
        while batch.summary.answered < 2 or not batch.summary.refusals:
            await anyio.sleep(0.001)
        batch.stop()
        results = [result async for result in batch]

    assert [result.custom_id for result in results] == ["q1", "q2"]
    assert batch.summary.left == 1


def test_a_sync_batch_can_be_stopped(client: Client) -> None:
    """From any thread."""
    with client.batch(iter(questions(10_000)), model=MODEL, concurrency=3) as batch:
        next(batch)
        batch.stop()
        rest = list(batch)

    assert len(rest) < 20


@pytest.mark.anyio
async def test_a_client_that_is_closed_stops_its_batch(
    server: LocalDashScope, client: Client
) -> None:
    """Items under way end with an error; the others are not asked."""
    server.fault(BlackHole(), times=None)

    async with client.abatch(questions(50), model=MODEL, concurrency=2) as batch:
        await server.await_for(lambda s: s.running == 2)
        await client.aclose()
        results = [result async for result in batch]

    assert isinstance(batch.summary.stopped, ClientClosedError)
    assert len(results) == 2


@pytest.mark.anyio
async def test_leaving_early_gives_up_what_is_under_way(
    server: LocalDashScope, client: Client
) -> None:
    """Its connections are closed at once, and an error of the body comes out as it is."""
    server.fault(BlackHole(), times=None, when=lambda request: not asks("0")(request))

    async def leave() -> None:
        async with client.abatch(questions(50), model=MODEL, concurrency=5) as batch:
            async for _ in batch:
                await server.await_for(lambda s: s.running == 5)
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), anyio.fail_after(20):
        await leave()

    await server.await_for(lambda s: s.running == 0)
    assert len(server.requests) == 6


@pytest.mark.anyio
async def test_cancelling_a_batch(server: LocalDashScope, client: Client, tmp_path: Path) -> None:
    """A cancelled batch frees its connections and its journal."""
    server.fault(BlackHole(), times=None)
    journal = tmp_path / "answers.jsonl"

    with anyio.move_on_after(0.5) as limit:
        async with client.abatch(questions(9), model=MODEL, journal=journal) as batch:
            await batch.aread()

    assert limit.cancelled_caught
    await server.await_for(lambda s: s.running == 0)
    server.reset()
    _, summary = await taken(client, questions(9), journal=journal)
    assert summary.answered == 9


def test_leaving_a_sync_batch_early(server: LocalDashScope, client: Client) -> None:
    """The same in sync code."""
    server.fault(BlackHole(), times=None, when=lambda request: not asks("0")(request))

    with client.batch(questions(50), model=MODEL, concurrency=5) as batch:
        for _ in batch:
            server.wait_for(lambda s: s.running == 5)
            break

    server.wait_for(lambda s: s.running == 0)


def test_a_sync_batch_that_is_forgotten(server: LocalDashScope, client: Client) -> None:
    """It warns, and gives up what is under way."""
    server.fault(BlackHole(), times=None)
    batches = [client.batch(questions(9), model=MODEL)]
    batches[0].__enter__()
    server.wait_for(lambda s: s.running == 9)

    with pytest.warns(ResourceWarning, match="a batch was left open"):
        batches.clear()

    server.wait_for(lambda s: s.running == 0)


@pytest.mark.anyio
async def test_a_batch_is_entered_once(client: Client) -> None:
    """Before that it has no results, and afterwards it can't begin again."""
    batch, sync = client.abatch(["a"], model=MODEL), client.batch(["a"], model=MODEL)

    assert batch.summary == sync.summary == BatchSummary()
    with pytest.raises(DashScopeError, match="'async with'"):
        await anext(batch)
    with pytest.raises(DashScopeError, match="'with'"):
        next(sync)
    await batch.__aexit__(None, None, None)
    sync.__exit__(None, None, None)

    async with batch:
        await batch.aread()
    with sync:
        pass
    sync.__exit__(None, None, None)
    with pytest.raises(DashScopeError, match="runs once"):
        await batch.__aenter__()
    with pytest.raises(DashScopeError, match="runs once"):
        sync.__enter__()


@pytest.mark.anyio
async def test_a_batch_that_is_over(client: Client) -> None:
    """It has no more results, however often it is asked; those left behind are named as lost."""
    async with client.abatch(["a"], model=MODEL) as batch:
        assert [result.text async for result in batch] == ["re: a"]
        assert (await batch.aread()).answered == 1
    assert [result async for result in batch] == []

    async with client.abatch(["a"], model=MODEL) as batch:
        pass
    with pytest.raises(DashScopeError, match="results not taken inside its 'with' were dropped"):
        await anext(batch)


@pytest.mark.anyio
async def test_several_tasks_share_the_results(client: Client) -> None:
    """Each result goes to one of them; none is lost, and all of them come to an end."""
    seen: list[BatchResult] = []
    async with (
        client.abatch(questions(300), model=MODEL) as batch,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(3):
            tasks.start_soon(_take_slowly, batch, seen)

    assert sorted(result.position for result in seen) == list(range(300))


async def _take_slowly(batch: AsyncBatch, seen: list[BatchResult]) -> None:
    async for result in batch:
        seen.append(result)
        await anyio.lowlevel.checkpoint()


def test_several_threads_share_the_results(client: Client) -> None:
    """The same in sync code."""
    with client.batch(questions(300), model=MODEL) as batch, ThreadPoolExecutor(3) as threads:
        shares = list(threads.map(list[BatchResult], [batch] * 3))

    assert sorted(each.position for share in shares for each in share) == list(range(300))


# inputs


@pytest.mark.anyio
async def test_an_input_that_breaks(client: Client, tmp_path: Path) -> None:
    """What it gave before is answered and kept; then its error is raised."""
    journal = tmp_path / "answers.jsonl"

    def broken() -> Iterator[str]:
        yield "a"
        yield "b"
        raise OSError("the disk is gone")

    seen: list[BatchResult] = []
    with pytest.raises(OSError, match="the disk is gone"):
        await take(client.abatch(broken(), model=MODEL, journal=journal), seen)

    assert {result.text for result in seen} == {"re: a", "re: b"}
    assert len(list(read_journal(journal))) == 2


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (SystemExit(3), SystemExit),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (StopAsyncIteration(), RuntimeError),
    ],
    ids=repr,
)
def test_an_input_that_ends_the_program(
    client: Client, error: BaseException, raised: type[BaseException]
) -> None:
    """It ends the batch and not the thread of all sync calls; what was read has its answer."""

    class Ending:
        def __init__(self) -> None:
            self.items = iter(["a"])

        def __iter__(self) -> Iterator[str]:
            return self

        def __next__(self) -> str:
            if (item := next(self.items, None)) is None:
                raise error
            return item

    seen: list[BatchResult] = []
    with pytest.raises(raised), client.batch(Ending(), model=MODEL) as batch:
        seen.extend(batch)

    assert [result.text for result in batch] == []
    assert client.call(MODEL, "hi").text == "re: hi"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_an_async_input_that_ends_the_program(client: Client, error: BaseException) -> None:
    """Its exception is raised as it is, in no group; what was read has its answer."""

    async def ending() -> AsyncIterator[str]:
        yield "a"
        raise error

    seen: list[BatchResult] = []
    caught: BaseException | None = None
    try:
        await take(client.abatch(ending(), model=MODEL), seen)
    except BaseException as raised:  # neither may leave the task of a test
        caught = raised

    assert caught is error
    assert [result.text for result in seen] == ["re: a"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_an_input_that_awaits_what_was_cancelled(client: Client) -> None:
    """Then the batch doesn't end as if it were complete."""

    async def awaiting() -> AsyncIterator[str]:
        yield "a"
        task = asyncio.ensure_future(asyncio.sleep(60))
        task.cancel()
        await task

    with pytest.raises(DashScopeError, match="the batch was cancelled before its end"):
        await taken(client, awaiting())


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.anyio
async def test_a_generator_is_closed(client: Client, kind: str) -> None:
    """An input that is not read to its end can let go of its file."""
    closed: list[str] = []

    def sync() -> Iterator[str]:
        try:
            while True:
                yield "a"
        finally:
            closed.append("sync")

    async def both() -> AsyncIterator[str]:
        try:
            while True:
                yield "a"
        finally:
            closed.append("async")

    async with client.abatch(sync() if kind == "sync" else both(), model=MODEL) as batch:
        await anext(batch)

    assert closed == [kind]


@pytest.mark.anyio
async def test_no_more_of_the_input_is_read_than_is_needed(client: Client) -> None:
    """While nobody takes results, twice `concurrency` items are in memory."""
    read: list[str] = []

    def counted() -> Iterator[str]:
        while True:
            read.append("a")
            yield "a"

    async with client.abatch(counted(), model=MODEL, concurrency=4) as batch:
        await anext(batch)
        while batch.summary.answered < 8:
            await anyio.sleep(0.001)
        await anyio.sleep(0.02)

        assert len(read) <= 16
        assert batch.summary.answered <= 16


@pytest.mark.anyio
async def test_a_client_without_a_key(server: LocalDashScope) -> None:
    """That is no error of an item: the batch says so."""
    async with Client(base_url=server.base_url) as client:
        with pytest.raises(ConfigurationError, match="api_key is missing"):
            await taken(client, ["a"])


@pytest.mark.anyio
async def test_items_can_be_checked_first(server: LocalDashScope, client: Client) -> None:
    """A check reads them all, counts, and sends nothing."""
    items: list[Any] = [*questions(40), *[7] * 25]

    found = await client.abatch(items, model=MODEL).acheck()
    same = await anyio.to_thread.run_sync(client.batch(items, model=MODEL).check)

    assert (found.asked, found.skipped, found.wrong) == (40, 0, 25)
    assert found.tokens > 40 * 256
    assert [each.position for each in found.mistakes] == list(range(40, 60))
    assert same.asked == 40
    assert server.requests == []


# the journal


@pytest.mark.anyio
async def test_a_second_run_asks_what_is_new(
    server: LocalDashScope, client: Client, tmp_path: Path
) -> None:
    """What the journal has is skipped; with it all answers can be read."""
    journal = tmp_path / "answers.jsonl"
    await taken(client, questions(3), journal=journal)
    results, summary = await taken(client, questions(200), journal=str(journal))

    assert len(results) == 197
    assert summary.skipped == 3
    assert "3 skipped" in str(summary)
    assert texts(list(read_journal(journal))) == {f"q{at}": f"re: {at}" for at in range(200)}
    results, summary = await taken(client, questions(200), journal=str(journal))
    assert (results, summary.skipped) == ([], 200)
    assert len(server.requests) == 200


@pytest.mark.parametrize(
    ("again", "asked"),
    [("passing", {"q1", "bad"}), ("failed", {"q1", "q2", "bad"}), ("none", set[str]())],
)
@pytest.mark.anyio
async def test_failed_items_are_asked_again(
    server: LocalDashScope, client: Client, tmp_path: Path, again: Any, asked: set[str]
) -> None:
    """Those whose failure may pass, all, or none; each id has one line afterwards."""
    journal = tmp_path / "answers.jsonl"
    items = [*questions(4), {"custom_id": "bad", "prompt": ""}]
    server.fault(ErrorStatus(), times=1, when=asks("1"))
    server.fault(Moderated(), times=1, when=asks("2"))
    await taken(client, items, journal=journal, tries=1)

    results, _ = await taken(client, items, journal=journal, again=again)

    assert {result.custom_id for result in results} == asked
    kept = [result.custom_id for result in read_journal(journal)]
    assert sorted(kept) == ["bad", "q0", "q1", "q2", "q3"]


@pytest.mark.anyio
async def test_an_id_stands_for_one_question(
    server: LocalDashScope, client: Client, tmp_path: Path
) -> None:
    """An id that comes twice is an error, and so is another question under one of the journal."""
    journal = tmp_path / "answers.jsonl"
    first = {"custom_id": "a", "prompt": "one"}
    results, _ = await taken(client, [first, first], journal=journal, ordered=True)

    assert results[0].text == "re: one"
    assert "custom_id 'a' is given twice" in str(results[1].error)

    results, _ = await taken(client, [{**first, "prompt": "two"}, first], journal=journal)

    assert "a different question, model or options for custom_id 'a'" in str(results[0].error)
    assert "custom_id 'a' is given twice" in str(results[1].error)
    assert [result.text for result in read_journal(journal)] == ["re: one"]
    assert len(server.requests) == 1


@pytest.mark.anyio
async def test_two_runs_on_one_journal(
    server: LocalDashScope, client: Client, tmp_path: Path
) -> None:
    """The second is refused: it would double the bill."""
    server.fault(BlackHole())
    journal = tmp_path / "answers.jsonl"
    async with client.abatch(["a"], model=MODEL, journal=journal):
        with pytest.raises(ConfigurationError, match="another run has the journal"):
            await taken(client, [], journal=journal)
        with (
            pytest.raises(ConfigurationError, match="another run has the journal"),
            client.batch([], journal=journal),
        ):
            pass

    await taken(client, [], journal=journal)


@pytest.mark.anyio
async def test_a_journal_that_can_not_be_opened(client: Client, tmp_path: Path) -> None:
    """The system's own error says why."""
    with pytest.raises(FileNotFoundError):
        await taken(client, [], journal=tmp_path / "nowhere" / "answers.jsonl")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.anyio
async def test_a_journal_that_is_a_pipe(client: Client, tmp_path: Path) -> None:
    """It can't be read back, and nobody waits for it."""
    pipe = tmp_path / "answers.jsonl"
    os.mkfifo(pipe)

    with pytest.raises(ConfigurationError, match="is a pipe or a device"):
        await taken(client, [], journal=pipe)
    with pytest.raises(ConfigurationError, match="is a pipe or a device"):
        await client.abatch([], journal=pipe).acheck()


@pytest.mark.parametrize("where", ["write", "sync", "close"])
@pytest.mark.anyio
async def test_a_disk_that_is_full(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The batch stops, since answers that can't be kept cost money; what has come is handed out."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    items: Any = questions(100)
    if where == "write":
        monkeypatch.setattr("llama_dashscope.batch.journal.os.write", full)
    else:
        monkeypatch.setattr("llama_dashscope.batch.journal._sync", full)
    if where == "sync":
        monkeypatch.setattr("llama_dashscope.batch.runner.SYNC_EVERY", 0.001)
        items = ({"prompt": "a"} for _ in iter(int, 1))
    seen: list[BatchResult] = []
    batch = client.abatch(items, model=MODEL, journal=tmp_path / "answers.jsonl", concurrency=2)
    with pytest.raises(OSError, match="No space left"), anyio.fail_after(20):
        await take(batch, seen)

    assert all(result.text for result in seen)
    assert seen


@pytest.mark.anyio
async def test_a_call_with_a_mistake_of_our_own(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no failure of a call is raised, and not passed off as an item's."""

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(client._engine, "whole", broken)
    with pytest.raises(ZeroDivisionError):
        await taken(client, ["a"])


@pytest.mark.anyio
async def test_a_journal_reads_back_what_was_answered(
    server: LocalDashScope, client: Client, tmp_path: Path
) -> None:
    """Answers, tool calls, errors and what had arrived of a text come back from a journal."""
    journal = tmp_path / "answers.jsonl"
    server.fault(Drop("rst"), times=None, when=asks("1"))
    results, _ = await taken(client, [*questions(3), [Message("user", "x")]], journal=journal)

    read = {result.custom_id: result for result in read_journal(journal)}

    assert set(read) == {"q0", "q1", "q2", "3"}
    for result in results:
        back = read[result.custom_id]
        assert (back.position, back.attempts) == (result.position, result.attempts)
        assert back.seconds == pytest.approx(result.seconds, abs=1e-3)
        if result.response is not None:
            assert back.text == result.text
            assert back.unwrap().usage == result.response.usage
            assert back.unwrap().request_id == result.response.request_id
        else:
            assert isinstance(back.error, APIConnectionError)
            assert isinstance(result.error, APIConnectionError)
            assert str(back.error.message) == result.error.message
    whole = next(result for result in results if result.custom_id == "3")
    assert read["3"].response == evolve(whole.unwrap(), output=read["3"].unwrap().output)


def test_reply_of_a_reasoning_model(server: LocalDashScope, client: Client, tmp_path: Path) -> None:
    """Nothing that the service adds is lost on the way to the journal and back."""
    journal = tmp_path / "answers.jsonl"
    server.reply(Reply("42", finish_reason="length"))

    with client.batch([[Message("user", "x")]], model=MODEL, journal=journal) as batch:
        [result] = batch

    [back] = read_journal(journal)
    assert back.unwrap().finish_reason == result.unwrap().finish_reason == "length"
    assert back.text == "42"
