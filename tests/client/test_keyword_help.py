"""Every keyword of a call shows itself: to `help`, to `inspect`, to an editor and a notebook."""

from __future__ import annotations

import inspect
import pydoc
import types
from collections.abc import Callable
from typing import Any, cast, get_type_hints

import pytest

from llama_dashscope import Client, Options, StreamOptions
from llama_dashscope._client.keyword_help import field_docs, shows_keywords

VERBS: dict[str, type] = {
    "acall": Options,
    "call": Options,
    "astream": StreamOptions,
    "stream": StreamOptions,
    "aparse": Options,
    "parse": Options,
}
OWN = {
    **dict.fromkeys(VERBS, ("model", "prompt")),
    **dict.fromkeys(("aparse", "parse"), ("model", "into", "prompt", "tries", "unknown_fields")),
}
"""What a verb takes besides the keywords of its options."""
verbs = pytest.mark.parametrize(("verb", "options"), VERBS.items(), ids=VERBS)


@verbs
def test_the_signature_has_every_keyword(verb: str, options: type) -> None:
    """Each keyword has its type and can be left out, in the order of `Options`."""
    signature = inspect.signature(getattr(Client, verb))
    shown = list(signature.parameters.values())
    named = shown[1 + len(OWN[verb]) :]

    assert [each.name for each in shown if each not in named] == ["self", *OWN[verb]]
    assert {each.name: each.annotation for each in named} == get_type_hints(options)
    assert [each.name for each in named] == list(options.__annotations__)
    assert {each.kind for each in named} == {inspect.Parameter.KEYWORD_ONLY}
    assert {each.default for each in named} == {None}
    assert list(inspect.signature(getattr(Client("k"), verb)).parameters.values()) == shown[1:]


@verbs
def test_help_says_what_each_keyword_means(verb: str, options: type) -> None:
    """Help has a line for each keyword, between the arguments before and the errors after."""
    text = pydoc.plain(pydoc.render_doc(getattr(Client, verb)))
    missing = [name for name in options.__annotations__ if f"\n        {name}: " not in text]

    assert missing == []
    assert "from 0 to below 2" in text
    assert "**options" not in text
    assert text.index("prompt: ") < text.index("temperature: ") < text.index("Raises:")
    assert max(map(len, text.split("Ask a model", 1)[1].splitlines())) <= 100


def test_without_the_source_help_names_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may be shipped without source; its help then says where to look."""

    def no_source(_: object) -> str:
        raise OSError

    def example(**options: object) -> None:
        """Take anything.

        Args:
            **options: see there
        """

    monkeypatch.setattr(inspect, "getsource", no_source)
    field_docs.cache_clear()
    shown = shows_keywords(Options)(example)
    field_docs.cache_clear()

    assert "**options: see there" in (shown.__doc__ or "")
    assert list(inspect.signature(shown).parameters) == list(Options.__annotations__)


@pytest.fixture
def jedi() -> types.ModuleType:
    """Return the library behind completion in notebooks and many editors."""
    return cast("types.ModuleType", pytest.importorskip("jedi"))


@verbs
@pytest.mark.parametrize("live", [True, False], ids=["notebook", "editor"])
def test_completion_has_every_keyword(
    jedi: types.ModuleType, verb: str, options: type, live: bool
) -> None:
    """Jedi shows the keywords, whether it runs beside the program or only reads it."""
    opening = "from llama_dashscope import Client\nClient('k')."
    source = f"{opening}{verb}("
    script: Callable[..., Any] = jedi.Interpreter if live else jedi.Script
    namespaces = [[{"Client": Client}]] if live else []
    [signature] = script(source, *namespaces).get_signatures()

    assert [each.name for each in signature.params] == [
        *OWN[verb],
        *options.__annotations__,
    ]
    assert "temperature: float | None" in signature.to_string()
