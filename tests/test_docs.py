"""What README and docs show works: every Python block, every example file, both first commands.

A block is a whole program: it runs alone, as it is written, against a DashScope on this machine.
One with an example's path in a comment above it is that file, so that code hosts show it too.
"""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import httpx
import pytest

import llama_dashscope
from llama_dashscope import compat, fastapi, otel, ray, redis, testing
from llama_dashscope.cli import main
from llama_dashscope.testing import LocalDashScope

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
PARTS = {"compat", "fastapi", "langchain", "llamaindex", "otel", "ray", "redis", "testing"}
"""Parts of the package with public names of their own."""
EXAMPLES = sorted((ROOT / "docs/examples").glob("*.py"))  # recipes in folders have own tests
FENCE = re.compile(r"^(?:<!-- (\S+\.py) -->\n)?```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A Python block of a page, and the line where its code begins."""

    page: Path
    line: int
    code: str
    example: Path | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks() -> Iterator[Block]:
    """Find the Python blocks of all pages."""
    for page in PAGES:
        text = page.read_text("utf-8")
        for found in FENCE.finditer(text):
            example = (page.parent / found[1]).resolve() if found[1] else None
            yield Block(page, text.count("\n", 0, found.start(2)) + 1, found[2], example)


BLOCKS = list(blocks())
PROGRAMS = [block for block in BLOCKS if not block.example]
COPIES = [block for block in BLOCKS if block.example]


@pytest.fixture
def reader(server: LocalDashScope, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Point the environment at a DashScope on this machine, as a reader's shell points at one."""
    monkeypatch.chdir(tmp_path)  # some of them write files
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_a_block_runs_as_it_stands(block: Block) -> None:
    """A reader can paste any Python block into a file and run it."""
    code = compile("\n" * (block.line - 1) + block.code, block.page, "exec")

    exec(code, {"__name__": "__main__"})  # noqa: S102  the code is our own documentation


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_as_a_program(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each example runs to its end; those that ask a question show an answer."""
    names = runpy.run_path(str(example), run_name="__main__")

    assert "app" in names or capsys.readouterr().out.strip()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_shown_on_a_page(example: Path) -> None:
    """No example lies about unread."""
    assert example in {block.example for block in COPIES}


@pytest.mark.parametrize("block", COPIES, ids=str)
def test_a_page_shows_an_example_as_it_is(block: Block) -> None:
    """A block below the path of an example is that file, letter for letter."""
    assert block.example is not None

    assert block.code == block.example.read_text("utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_can_be_read_on_a_code_host(page: Path) -> None:
    """Code stands in the page: what only Sphinx would include, a reader elsewhere never sees."""
    assert "{literalinclude}" not in page.read_text("utf-8"), (
        "show the file's text in a ```python block, with <!-- path/of/example.py --> above it"
    )


@pytest.mark.parametrize(
    "module",
    [llama_dashscope, compat, fastapi, otel, ray, redis, testing],
    ids=lambda module: module.__name__,
)
def test_the_reference_has_every_public_name(module: ModuleType) -> None:
    """What can be imported can be looked up."""
    page = (ROOT / "docs/reference.md").read_text("utf-8")
    entry = re.compile(rf"^\.\. auto\w+:: {re.escape(module.__name__)}\.(\w+)", re.MULTILINE)
    listed = set(entry.findall(page))

    public = {name: getattr(module, name) for name in module.__all__ if name[0] != "_"}
    if module is not llama_dashscope:  # what is public there as well is listed there
        top = vars(llama_dashscope)
        public = {name: thing for name, thing in public.items() if top.get(name) is not thing}

    assert listed - PARTS == public.keys()


def test_the_first_command_of_the_readme_answers() -> None:
    """What README says to type first gives an answer without a key."""
    install, _, ask = README.read_text("utf-8").partition("```bash\n")[2].partition(" && ")
    command = shlex.split(ask.partition("\n")[0])
    program = shutil.which(command[0])
    if program is None:
        pytest.skip("the package is not installed, so its command is not on PATH")

    ended = subprocess.run([program, *command[1:]], capture_output=True, check=False)

    assert install == "pip install ."
    assert ended.returncode == 0, ended.stderr.decode()
    assert ended.stdout.decode().strip()


def test_the_readme_leads_to_what_is_there() -> None:
    """Each of its relative links is a file; the first line has the one for who reads Chinese."""
    text = README.read_text("utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)

    assert "[中文](docs/zh/README.md)" in text.splitlines()[0]
    assert [link for link in links if not (ROOT / link).is_file()] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs/zh").glob("*.md")), ids=lambda p: p.name)
def test_a_chinese_paragraph_is_one_line(page: Path) -> None:
    """A line break within it would be shown as a space, which Chinese has none of."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)

    assert re.findall(r".{0,20}[，。；：！？、）]\n[^\s#|>*\d-].{0,20}", prose) == []


@pytest.mark.parametrize("page", ["guide", "zh"])
@pytest.mark.parametrize("command", ["chat", "batch", "models", "serve"])
def test_the_page_of_the_command_line_has_every_option(
    page: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `--help` lists can be read about."""
    option = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
    text = (ROOT / "docs" / page / "cli.md").read_text("utf-8")

    main([command, "--help"])

    assert set(option.findall(capsys.readouterr().out)) - set(option.findall(text)) == set()


def test_pages_name_programs_that_are_there() -> None:
    """Each module and each session of nox that a reader is told to run exists."""
    text = "".join(page.read_text("utf-8") for page in PAGES)
    modules = {ROOT / name.replace(".", "/") for name in re.findall(r"-m (tests[\w.]+)", text)}
    sessions = set(re.findall(r"nox -s (\w+)", text))
    there = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE))

    assert [each for each in modules if not each.with_suffix(".py").is_file()] == []
    assert sessions - there == set()


def test_ci_runs_the_second_command_of_the_readme() -> None:
    """What README says checks everything is what CI does."""
    run = (ROOT / ".ci/run").read_text("utf-8")

    assert "```bash\npip install nox && nox\n```" in README.read_text("utf-8")
    assert re.search(r"^pip install .*\bnox\b", run, re.MULTILINE)
    assert re.search(r" nox$", run, re.MULTILINE), "nox without a session runs every check"


@pytest.fixture
def app(reader: None) -> Any:
    """Load FastAPI's example with the environment of a reader."""
    return runpy.run_path(str(ROOT / "docs/examples/fastapi_app.py"))["app"]


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/answer", "/answer-sync", "/tokens"])
async def test_the_fastapi_example_answers(app: Any, path: str) -> None:
    """Each handler of the example gives the browser an answer."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as browser,
    ):
        reply = await browser.get(path, params={"question": "介绍一下自己"})

    assert reply.status_code == 200
    assert reply.text
