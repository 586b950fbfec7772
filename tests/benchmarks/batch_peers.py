"""Batches beside other ways to ask many questions: `python -m tests.benchmarks.batch_peers`.

3,000 questions to one server with one limit, 200 requests a second, or with `--limit tokens` the
tokens that as many answers have:

known            this package's batch, which is told the limit
unknown          one that has to find it
workers          50 workers and this client's retries, without a pace
openai           openai's AsyncOpenAI and its retries, 50 at once by a semaphore
litellm          litellm's `batch_completion`, with its 100 threads
router           litellm's `Router.abatch_completion`, which is told the limit
cookbook         examples/api_request_parallel_processor.py of github.com/openai/openai-cookbook,
                 which is told the limit; `--cookbook PATH` says where a copy of it is
cookbook-openai  the same where a refusal reads as OpenAI's own do, which the script knows

Names take some of them alone. Each has a server and a process of its own, and all that isn't said
here is as it comes. What isn't installed is left out: openai, litellm; for the script aiohttp and
tiktoken. Two things of the script are seen to: it can't tell the endpoint from a local address and
is told, and its tiktoken needs the encoding cl100k_base. Without the net, TIKTOKEN_CACHE_DIR can
name the folder `litellm_core_utils/tokenizers` of an installed litellm, which has a copy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

from llama_dashscope import BatchInput, Client, DashScopeError, Pace

from . import canned
from .account_server import counts
from .limits import allow_many_files
from .server import running
from .table import draw

MODEL = "llama3.3-70b-instruct"
KEY = "sk-local"
LIMIT = 200
"""Answers a second that the account may have."""
AT_ONCE = 50
UNLIMITED = 1e9
OPENAI_WORDS = "Rate limit reached for requests"


@dataclass(frozen=True)
class Job:
    """What is to be asked.

    Args:
        server: where.
        count: how many questions.
        rpm: the account's requests a minute; 0 for no limit.
        tpm: its tokens a minute; 0 for no limit.
        script: where the script of openai-cookbook is.
    """

    server: str
    count: int
    rpm: int
    tpm: int
    script: str

    @property
    def native(self) -> str:
        """The base of DashScope's own route."""
        return f"{self.server}/api/v1"

    @property
    def compatible(self) -> str:
        """The base of the OpenAI-compatible route."""
        return f"{self.server}/compatible-mode/v1"

    def messages(self) -> Iterator[list[dict[str, str]]]:
        """Give the questions."""
        return ([{"role": "user", "content": f"question {at}"}] for at in range(self.count))


Ask = Callable[[], int]
"""Asks all questions; returns how many have an answer."""


def batch(job: Job, *, told: bool) -> Ask:
    """Ask by a batch of this package."""
    pace = Pace(job.rpm or None, job.tpm or None) if told else Pace()
    items: Iterator[BatchInput] = (
        {"custom_id": f"item-{at}", "messages": messages}
        for at, messages in enumerate(job.messages())
    )

    async def ask() -> int:
        async with (
            Client(KEY, base_url=job.native, pace=pace) as client,
            client.abatch(items, model=MODEL) as run,
        ):
            return (await run.aread()).answered

    return lambda: asyncio.run(ask())


def workers(job: Job) -> Ask:
    """Ask by workers that share a list, as everybody writes it first."""

    async def work(client: Client, questions: Iterator[list[dict[str, str]]]) -> int:
        answered = 0
        for messages in questions:
            with suppress(DashScopeError):
                await client.acall(MODEL, messages=messages)
                answered += 1
        return answered

    async def ask() -> int:
        questions = job.messages()
        async with Client(KEY, base_url=job.native, pace=None) as client:
            return sum(await asyncio.gather(*(work(client, questions) for _ in range(AT_ONCE))))

    return lambda: asyncio.run(ask())


def openai_sdk(job: Job) -> Ask:
    """Ask by the SDK of OpenAI."""
    openai: Any = import_module("openai")

    async def ask() -> int:
        places = asyncio.Semaphore(AT_ONCE)

        async def answers(client: Any, messages: list[dict[str, str]]) -> bool:
            async with places:
                try:
                    await client.chat.completions.create(model=MODEL, messages=messages)
                except openai.OpenAIError:
                    return False
                return True

        async with openai.AsyncOpenAI(api_key=KEY, base_url=job.compatible) as client:
            return sum(await asyncio.gather(*(answers(client, each) for each in job.messages())))

    return lambda: asyncio.run(ask())


def litellm_batch(job: Job) -> Ask:
    """Ask by litellm's function for many questions."""
    litellm: Any = import_module("litellm")
    litellm.suppress_debug_info = True
    target = {"model": f"dashscope/{MODEL}", "api_base": job.compatible, "api_key": KEY}
    questions = list(job.messages())

    def ask() -> int:
        results = litellm.batch_completion(messages=questions, **target)
        return sum(not isinstance(each, Exception) for each in results)

    return ask


def litellm_router(job: Job) -> Ask:
    """Ask by litellm's router, which knows limits."""
    litellm: Any = import_module("litellm")
    litellm.suppress_debug_info = True
    limits = {name: most for name, most in (("rpm", job.rpm), ("tpm", job.tpm)) if most}
    target = {"model": f"dashscope/{MODEL}", "api_base": job.compatible, "api_key": KEY}
    router = litellm.Router([{"model_name": MODEL, "litellm_params": {**target, **limits}}])
    questions = list(job.messages())

    async def ask() -> int:
        results = await router.abatch_completion(models=[MODEL], messages=questions)
        return sum(not isinstance(result, Exception) for (result,) in results)

    return lambda: asyncio.run(ask())


def endpoint(_: str) -> str:
    """Tell the script of openai-cookbook what it can't read off a local address."""
    return "chat/completions"


def cookbook(job: Job) -> Ask:
    """Ask by the script of openai-cookbook."""
    spec = spec_from_file_location("parallel_processor", job.script)
    assert spec is not None
    assert spec.loader is not None
    script: Any = module_from_spec(spec)
    spec.loader.exec_module(script)
    script.api_endpoint_from_url = endpoint
    script.tiktoken.get_encoding("cl100k_base")

    def ask() -> int:
        with tempfile.TemporaryDirectory() as folder:
            asked, answered = Path(folder, "asked.jsonl"), Path(folder, "answered.jsonl")
            bodies = ({"model": MODEL, "messages": messages} for messages in job.messages())
            asked.write_text("".join(f"{json.dumps(body)}\n" for body in bodies), "utf-8")
            asyncio.run(
                script.process_api_requests_from_file(
                    requests_filepath=str(asked),
                    save_filepath=str(answered),
                    request_url=f"{job.compatible}/chat/completions",
                    api_key=KEY,
                    max_requests_per_minute=job.rpm or UNLIMITED,
                    max_tokens_per_minute=job.tpm or UNLIMITED,
                    token_encoding_name="cl100k_base",
                    max_attempts=5,
                    logging_level=50,
                )
            )
            # An answer is an object, a failure the list of its errors.
            lines = map(json.loads, answered.read_text("utf-8").splitlines())
            return sum(isinstance(line[1], dict) for line in lines)

    return ask


@dataclass(frozen=True)
class Peer:
    """A way to ask many questions.

    Args:
        label: its name in the table.
        needs: what has to be installed.
        prepare: loads it.
        words: the message of a refusal, where it isn't the service's own.
    """

    label: str
    needs: tuple[str, ...]
    prepare: Callable[[Job], Ask]
    words: str = ""


PEERS = {
    "known": Peer("a batch, limit known", (), partial(batch, told=True)),
    "unknown": Peer("a batch, limit unknown", (), partial(batch, told=False)),
    "workers": Peer("50 workers, this client's retries", (), workers),
    "openai": Peer("openai, 50 at once", ("openai",), openai_sdk),
    "litellm": Peer("litellm, `batch_completion`", ("litellm",), litellm_batch),
    "router": Peer("litellm, `Router`, limit known", ("litellm",), litellm_router),
    "cookbook": Peer("openai-cookbook, limit known", ("aiohttp", "tiktoken"), cookbook),
    "cookbook-openai": Peer(
        "the same, with OpenAI's refusals", ("aiohttp", "tiktoken"), cookbook, OPENAI_WORDS
    ),
}


@dataclass(frozen=True)
class Outcome:
    """How a run went."""

    seconds: float
    lost: float
    refused: float
    requests: float
    megabytes: float
    """The most memory that the process had."""

    @classmethod
    def median_of(cls, rounds: list[Outcome]) -> Outcome:
        """Return the median of each figure."""
        columns = zip(*(asdict(each).values() for each in rounds), strict=True)
        return cls(*map(median, columns))

    def cells(self) -> list[str]:
        """Return the figures of a row."""
        whole = (self.lost, self.refused, self.requests, self.megabytes)
        return [f"{self.seconds:.1f}", *(f"{each:,.0f}" for each in whole)]


HEAD = ["", "seconds", "lost", "refused", "requests sent", "memory (MB)"]


def run(name: str, given: str) -> None:
    """Ask all questions in this process; print how many have an answer, the time, the memory."""
    job = Job(**json.loads(given))
    ask = PEERS[name].prepare(job)
    began = monotonic()
    answered = ask()
    seconds = monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps([answered, seconds, peak / 1e6]))


def measure(name: str, job: Job, seconds: float) -> Outcome:
    """Run a peer against a server of its own, where an answer takes so many seconds.

    Raises:
        RuntimeError: it failed; has what it wrote.
    """
    with running("account_server", job.rpm, job.tpm, seconds, PEERS[name].words) as server:
        given = json.dumps({**asdict(job), "server": server})
        ended = subprocess.run(
            [sys.executable, "-m", f"{__package__}.batch_peers", "run", name, given],
            capture_output=True,
            text=True,
            check=False,
            # litellm would look on the net for what models cost.
            env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        )
        if ended.returncode:
            raise RuntimeError(f"{name}: {ended.stderr}")
        answered, spent, megabytes = json.loads(ended.stdout.splitlines()[-1])
        requests, refused = counts(server)
    return Outcome(spent, job.count - answered, refused, requests, megabytes)


def absent(name: str, script: str) -> str | None:
    """Say why a peer can't be measured here; None if it can."""
    if missing := [each for each in PEERS[name].needs if find_spec(each) is None]:
        return f"{' and '.join(missing)} missing"
    if PEERS[name].prepare is cookbook and not Path(script).is_file():
        return "--cookbook doesn't name a copy of the script"
    return None


def versions() -> str:
    """Name what is compared."""
    found = [f"CPython {platform.python_version()}"]
    for each in ("openai", "litellm", "aiohttp", "httpx"):
        with suppress(PackageNotFoundError):
            found.append(f"{each} {version(each)}")
    return ", ".join(found)


def main() -> None:
    """Measure the peers that are asked for, or all that are here."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("peers", nargs="*", choices=[*PEERS, []], metavar="PEER")
    parser.add_argument("--limit", choices=["requests", "tokens"], default="requests")
    parser.add_argument("--count", type=int, default=3_000, help="questions (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.2, help="an answer takes (%(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="the table has the medians")
    parser.add_argument("--cookbook", default="", metavar="PATH")
    given = parser.parse_args()
    rpm, tpm = (LIMIT * 60, 0) if given.limit == "requests" else (0, LIMIT * 60 * canned.TOKENS)
    job = Job("", given.count, rpm, tpm, given.cookbook)
    rounds: dict[str, list[Outcome]] = {}
    for name in given.peers or PEERS:
        if reason := absent(name, given.cookbook):
            print(f"{name} is left out: {reason}")
        else:
            rounds[name] = []
    for _ in range(given.rounds):
        for name, outcomes in rounds.items():
            outcomes.append(measure(name, job, given.seconds))
            print(name, *outcomes[-1].cells(), file=sys.stderr)
    rows = ([PEERS[name].label, *Outcome.median_of(each).cells()] for name, each in rounds.items())
    print(versions(), draw(HEAD, rows), sep="\n\n")


if __name__ == "__main__":
    allow_many_files()
    if sys.argv[1:2] == ["run"]:
        run(*sys.argv[2:])
    else:
        main()
