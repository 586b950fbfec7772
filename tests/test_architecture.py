"""The house rules that no linter knows: which way imports point, and how long things may get."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "llama_dashscope"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text("utf-8")) for path in FILES}

GROUND = [
    "_catalog.py",
    "_client/retry.py",
    "_environment.py",
    "_errors.py",
    "_models.py",
    "_protocol/accumulator.py",
    "_protocol/converter.py",
    "_protocol/deltas.py",
    "_protocol/error_codes.py",
    "_protocol/failure.py",
    "_protocol/options.py",
    "_protocol/request.py",
    "_protocol/response.py",
    "_protocol/sse.py",
    "_protocol/stream_payload.py",
    "_settings.py",
]
IO = {"aiohttp", "anyio", "asyncio", "httpx", "socket", "trio"}
LONGEST_FILE, LONGEST_FUNCTION, USUAL_FUNCTION = 450, 45, 24


def imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Name the modules that these statements import, the package's own as `.name`."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (f".{name}" for name in names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def code_lines(function: ast.AST, source: list[str]) -> int:
    """Count a function's lines without its docstring, comments and blank lines."""
    assert isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
    body = function.body[1:] if ast.get_docstring(function) else function.body
    head = function.body[0].lineno - function.lineno
    last = function.end_lineno or function.lineno
    lines = source[body[0].lineno - 1 : last] if body else []
    return head + sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)


def functions() -> dict[str, int]:
    """Measure every function of the package."""
    return {
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}": code_lines(
            node, path.read_text("utf-8").splitlines()
        )
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


def test_imports_point_one_way() -> None:
    """No two rooms need each other to be imported."""
    rooms = {
        path.stem: {name[1:].partition(".")[0] for name in imports(tree.body) if name[0] == "."}
        for path, tree in TREES.items()
        if path.parent == PACKAGE
    }

    assert list(
        TopologicalSorter(rooms).static_order()
    )  # raises CycleError, which names the circle


@pytest.mark.parametrize("room", GROUND)
def test_the_ground_floor_does_no_io(room: str) -> None:
    """Values in, values out: a room downstairs imports nothing that reaches a network or a loop."""
    tree = TREES[PACKAGE / room]
    used = {name.partition(".")[0] for name in imports(ast.walk(tree))}

    assert used & IO == set()


def test_one_room_speaks_httpx() -> None:
    """The transport alone knows which library carries the bytes."""
    users = {
        path.stem
        for path, tree in TREES.items()
        if "httpx" in {name.partition(".")[0] for name in imports(ast.walk(tree))}
    }

    assert users <= {"httpx_transport"}


def test_files_are_short() -> None:
    """A file is one idea."""
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for path in FILES}

    assert {name: size for name, size in lengths.items() if size > LONGEST_FILE} == {}


def test_functions_are_short() -> None:
    """A function is one job; nine in ten fit in two dozen lines of code."""
    lengths = functions()

    assert {name: size for name, size in lengths.items() if size > LONGEST_FUNCTION} == {}
    assert sorted(lengths.values())[len(lengths) * 9 // 10] <= USUAL_FUNCTION
