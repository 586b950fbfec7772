"""The recipes of the page about testing pass as they are copied."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

FOLDER = Path(__file__).parents[2] / "docs/examples/testing"
RECIPES = sorted(FOLDER.glob("test_*.py"))


def test_there_are_five() -> None:
    """A happy path, a rate limit, a cut stream, a slow first token, random faults."""
    assert len(RECIPES) == 5


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_passes(pytester: pytest.Pytester, recipe: Path) -> None:
    """Nothing but the plugin is needed."""
    if recipe.stem == "test_random_faults":
        pytest.importorskip("fastapi", reason="FastAPI is not installed")
    copy = pytester.path / recipe.name
    copy.write_text(recipe.read_text("utf-8"), "utf-8")

    # The run around this one may have imported the plugin already; then pytest warns.
    known = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
    plugins = ("-p", "llama_dashscope.testing.plugin", "-p", "no:cacheprovider")
    result = pytester.runpytest(*known, *plugins)

    outcomes = result.parseoutcomes()
    assert outcomes.keys() == {"passed"}
