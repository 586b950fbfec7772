"""The rules of docs/architecture.md: which way imports point, who may use which library, sizes.

Imports inside functions count as much as those at the top of a file. A rule that matches nothing
fails, and so does one that lets a planted violation pass.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

NAME = "llama_dashscope"
TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / NAME
LONGEST_FILE, LONGEST_FUNCTION, USUAL_FUNCTION = 450, 45, 24

VOCABULARY = (
    *("_catalog", "_environment", "_errors", "_late_imports", "_models", "_sanitize"),
    *("_settings", "_version"),
)
PUBLIC = "(public)"
"""The package itself, as its users import it."""

# Part of the package -> the parts that it may import besides itself. A part is a module or a
# package with all that is in it; the narrowest part that a module belongs to counts.
FLOORS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(VOCABULARY, VOCABULARY),
    "_protocol": ("_catalog", "_errors", "_models", "_sanitize", "_settings"),
    "_network": VOCABULARY,
    "batch": (
        *("_errors", "_models", "_network.event_loop", "_sanitize"),
        *("_protocol.answer_format", "_protocol.arguments", "_protocol.converter"),
        *("_protocol.mismatches", "_protocol.options"),
    ),
    "_client": (
        *VOCABULARY,
        "batch",
        "_protocol",
        "_network.event_loop",
        "_network.failures",
        "_network.interface",
        "_network.loading",
        "_network.pool",
        "_network.read_ahead",
        "_network.user_transport",
    ),
    "compat": (*VOCABULARY, "_protocol", "_client"),
    "testing": VOCABULARY,
    "testing._service": ("_catalog",),
    "testing._http_server": ("_environment", "_errors", "testing._service"),
    "testing._upstream": ("_environment", "_errors", "_protocol.sse", "testing"),
    "fastapi": (PUBLIC,),
    "_frameworks": (PUBLIC,),
    "langchain": (PUBLIC, "_frameworks"),
    "llamaindex": (PUBLIC, "_frameworks"),
    "ray": (PUBLIC,),
    "redis": (PUBLIC,),
    "cli": (PUBLIC, "_environment", "batch", "testing"),
    "otel": (PUBLIC,),
    PUBLIC: (
        *(*VOCABULARY, "_protocol.options", "_protocol.tool_functions"),
        *("_client", "batch", "compat"),
    ),
    "__main__": ("cli",),
}

# Library -> the parts of the package that may import it. Every library that is not Python's own is
# in this table, and so are the modules of Python that stand for I/O.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "_llama_dashscope_pytestplugin": ("testing.plugin",),
    "aiohttp": ("_network.aiohttp_transport", "_network.selection"),
    "anyio": ("_client", "_network", "batch", "fastapi", "redis", "testing"),
    "asyncio": (
        *("_client.background_loop", "_client.sync_bridge", "_network", "redis._pace", "testing"),
    ),
    "attrs": (
        *("_catalog", "_client", "_models", "_network", "_protocol", "_settings"),
        *("batch", "cli", "compat", "fastapi", "redis", "testing"),
    ),
    "cattrs": ("_protocol",),
    "certifi": ("_network.tls",),
    "fastapi": ("fastapi",),
    "h11": (
        *("_network.dialer", "_network.http11_connection", "_network.http11_transport"),
        "testing._http_server.http1",
    ),
    "httpcore": (
        *("_network.asyncio_backend", "_network.dialer", "_network.http11_connection"),
        *("_network.http11_transport", "_network.socks5"),
    ),
    "httpx": ("_network.user_transport", "testing._upstream"),
    "langchain_core": ("langchain",),
    "llama_index": ("llamaindex",),
    "prompt_toolkit": ("cli.line_editor",),
    "opentelemetry": ("otel",),
    "pydantic": ("langchain", "llamaindex"),
    "redis": ("redis",),
    "pyarrow": ("batch.files",),
    "socket": ("_network.asyncio_backend", "_network.sockets", "_network.tls", "testing"),
    "ssl": ("_client.client", "_network", "_settings", "testing._upstream"),
    "starlette": ("fastapi",),
    "threading": (
        *("_client", "_late_imports", "_network.event_loop", "cli.serve", "otel", "testing"),
    ),
    "tqdm": ("batch.progress",),
    "typing_extensions": ("_client.streams", "_protocol.options", "_protocol.type_forms", "ray"),
}


def name_of(path: Path) -> str:
    """Return a file's module, without the package's own name; the package itself is PUBLIC."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or PUBLIC


SOURCES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(module: str, tree: ast.AST) -> Iterator[str]:
    """Name every module that a module imports, wherever in it, by its absolute name."""
    package = NAME if module == PUBLIC else f"{NAME}.{module}"
    if module != PUBLIC and SOURCES[module].name != "__init__.py":
        package = package.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - max(node.level - 1, 0)]
            origin = ".".join([*base, *filter(None, [node.module])]) if node.level else node.module
            for alias in node.names:
                inner = f"{origin}.{alias.name}".removeprefix(f"{NAME}.")
                yield f"{NAME}.{inner}" if inner in SOURCES else str(origin)
        elif isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            named = node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value
            if called in {"import_module", "__import__"} and isinstance(named, str):
                yield named


@cache
def imported(module: str) -> frozenset[str]:
    """Return what a module imports as it stands."""
    return frozenset(imports(module, tree_of(module)))


def is_part(module: str, part: str) -> bool:
    """Tell whether a module is a part of the package, or in it."""
    return module == part or module.startswith(f"{part}.")


def part_of(module: str) -> str:
    """Return the narrowest part with a rule that a module belongs to."""
    parts = [part for part in FLOORS if is_part(module, part)]
    return max(parts, key=len, default="")


def violations(module: str, tree: ast.AST) -> list[str]:
    """Say which imports of a module break a rule."""
    part = part_of(module)
    if not part:
        return [f"{module}: no rule says what it may import"]
    found: list[str] = []
    for name in imports(module, tree):
        root, _, inner = name.partition(".")
        if root == NAME:
            allowed = (part, *FLOORS[part])
            broken = not any(is_part(inner or PUBLIC, each) for each in allowed)
        else:
            limited = root in LIBRARIES or root not in sys.stdlib_module_names
            broken = limited and not any(is_part(module, p) for p in LIBRARIES.get(root, ()))
        if broken:
            found.append(f"{module} imports {name}")
    return found


@cache
def tree_of(module: str) -> ast.Module:
    """Parse a module."""
    return ast.parse(SOURCES[module].read_text("utf-8"))


@pytest.mark.parametrize("module", SOURCES)
def test_imports_go_down_only(module: str) -> None:
    """A module imports what its floor may import, and no library that is another's."""
    assert violations(module, tree_of(module)) == []


@pytest.mark.parametrize("part", FLOORS)
def test_a_rule_of_the_floors_matches_and_bites(part: str) -> None:
    """Each part exists, uses what it is allowed, and is caught at a planted import of the rest."""
    members = [module for module in SOURCES if part_of(module) == part]

    assert members

    used = {name.removeprefix(f"{NAME}.") for m in members for name in imported(m)}
    used |= {PUBLIC} if NAME in used else set()
    allowed = FLOORS[part]
    unused = [each for each in allowed if not any(is_part(name, each) for name in used)]

    assert part in VOCABULARY or [each for each in unused if each not in VOCABULARY] == []

    forbidden = [
        each for each in SOURCES if not any(is_part(each, fine) for fine in (part, *allowed))
    ]
    planted = [
        ast.parse(f"def late():\n    import {NAME}{'' if each == PUBLIC else '.' + each}\n")
        for each in forbidden
    ]

    assert forbidden
    assert all(violations(members[0], tree) for tree in planted)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_rule_of_the_libraries_matches_and_bites(library: str) -> None:
    """Each permission is used, and a planted import is caught in every module without one."""
    users = [m for m in SOURCES if library in {n.partition(".")[0] for n in imported(m)}]
    allowed = LIBRARIES[library]
    unused = [part for part in allowed if not any(is_part(user, part) for user in users)]
    others = [m for m in SOURCES if not any(is_part(m, part) for part in allowed)]
    planted = ast.parse(f"def late():\n    from {library} import anything\n")

    assert unused == []
    assert [module for module in others if not violations(module, planted)] == []


@pytest.mark.parametrize(
    "planted",
    [
        "import numpy",
        "from numpy.linalg import norm",
        "import importlib\nimportlib.import_module('numpy')",
        "from .._client import client",
        "from llama_dashscope import _client",
    ],
)
def test_however_an_import_is_written_it_is_seen(planted: str) -> None:
    """A library that no rule names is refused everywhere; relative imports count as absolute."""
    assert len(violations("_protocol.sse", ast.parse(planted))) == 1


def test_imports_form_no_circle() -> None:
    """No two modules need each other, those imported inside functions included."""
    inner = {
        module: {
            target
            for name in imported(module)
            if (target := PUBLIC if name == NAME else name.removeprefix(f"{NAME}.")) in SOURCES
            and name.partition(".")[0] == NAME
            and target != module
        }
        for module in SOURCES
    }

    assert list(TopologicalSorter(inner).static_order())  # raises CycleError, which names it


def test_the_page_about_it_names_files_that_are_there() -> None:
    """Every module and test that docs/architecture.md sends a reader to exists."""
    page = (PACKAGE.parent / "docs/architecture.md").read_text("utf-8")
    named = set(re.findall(r"`([\w/]+\.py)`", page))
    tests = {name for name in named if Path(name).name.startswith("test_")}

    missing = {name for name in named - tests if not (PACKAGE / name).is_file()}
    missing |= {name for name in tests if not (TESTS / name.removeprefix("tests/")).is_file()}

    assert len(named) > len(tests) > 0
    assert missing == set()


def code_lines(function: ast.AST, source: list[str]) -> int:
    """Count a function's lines without its docstring, comments and blank lines."""
    assert isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
    body = function.body[1:] if ast.get_docstring(function) else function.body
    head = function.body[0].lineno - function.lineno
    last = function.end_lineno or function.lineno
    lines = source[body[0].lineno - 1 : last] if body else []
    return head + sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)


def test_files_are_short() -> None:
    """A file is one idea."""
    lengths = {m: len(path.read_text("utf-8").splitlines()) for m, path in SOURCES.items()}

    assert {module: size for module, size in lengths.items() if size > LONGEST_FILE} == {}


def test_functions_are_short() -> None:
    """A function is one job; nine in ten fit in two dozen lines of code."""
    lengths = {
        f"{module}:{node.lineno} {node.name}": code_lines(
            node, path.read_text("utf-8").splitlines()
        )
        for module, path in SOURCES.items()
        for node in ast.walk(tree_of(module))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }

    assert {name: size for name, size in lengths.items() if size > LONGEST_FUNCTION} == {}
    assert sorted(lengths.values())[len(lengths) * 9 // 10] <= USUAL_FUNCTION


def test_no_class_name_stands_twice() -> None:
    """A reader who meets a class's name knows which class it is, underscores aside."""
    owners: dict[str, list[str]] = {}
    for module in SOURCES:
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.ClassDef):
                owners.setdefault(node.name.lstrip("_"), []).append(f"{module}.{node.name}")

    twice = {name for name, found in owners.items() if len(found) > 1}

    assert twice == {
        *("Choice", "Message"),  # frozen ones of the client, and dicts for the official SDK's users
        "ToolCall",  # what a model calls, and what a script has the local server call: both public
    }
