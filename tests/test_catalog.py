"""The catalogue says what the service's page says, and where its sources disagree."""

from __future__ import annotations

import pickle

import attrs
import pytest

from llama_dashscope import MODELS, Model

PAGE = {
    "llama3.3-70b-instruct": (32_000, 30_000),
    "llama3.2-3b-instruct": (32_000, 30_000),
    "llama3.2-1b-instruct": (32_000, 30_000),
    "llama3.1-405b-instruct": (32_000, 30_000),
    "llama3.1-70b-instruct": (32_000, 30_000),
    "llama3.1-8b-instruct": (32_000, 30_000),
    "llama3-70b-instruct": (8_000, 8_000),
    "llama3-8b-instruct": (8_000, 8_000),
    "llama2-13b-chat-v2": (4_000, 4_000),
    "llama2-7b-chat-v2": (4_000, 4_000),
}


def test_the_documented_models() -> None:
    """Names, order, context and input are those of the page's table."""
    listed = {name: (model.context_length, model.max_input) for name, model in MODELS.items()}

    assert listed == PAGE
    assert list(listed) == list(PAGE)
    assert all(name == model.name for name, model in MODELS.items())


@pytest.mark.parametrize(
    ("beginning", "takes_prompt", "note"),
    [
        ("llama3.3", None, None),
        ("llama3.2", None, None),
        ("llama3.1", None, "128k"),
        ("llama3-", False, "6,500"),
        ("llama2-13b", True, "4,096"),
        ("llama2-7b", True, "2,048"),
    ],
)
def test_conflicts_are_noted(beginning: str, takes_prompt: bool | None, note: str | None) -> None:
    """Where editions of the page disagree, the catalogue says so instead of choosing in silence."""
    models = [model for name, model in MODELS.items() if name.startswith(beginning)]

    assert models
    assert {model.takes_prompt for model in models} == {takes_prompt}
    assert all((note is None) == (not model.notes) for model in models)
    assert all(note in " ".join(model.notes) for model in models if note)


def test_the_catalogue_is_read_only() -> None:
    """It informs; nobody changes it for everybody else."""
    model = MODELS["llama3.3-70b-instruct"]

    with pytest.raises(TypeError):
        MODELS["other"] = model  # type: ignore[index]  # pyright: ignore[reportIndexIssue]  # that it is refused is the test
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        model.max_input = 1  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  # as above
    assert pickle.loads(pickle.dumps(model)) == model  # our own bytes
    assert isinstance(model, Model)
