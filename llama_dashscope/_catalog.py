"""The Llama text models that the service documents; for information only, no call is checked by it.

Source: the model table of "Llama (text input only)", Alibaba Cloud Model Studio's API reference.
`notes` says where other editions or other parts of that page disagree. The edition of April 2025
announces that all of these models go offline; only the service knows which still answer.
"""

from types import MappingProxyType
from typing import Final

import attrs

__all__ = ["MODELS", "Model"]


@attrs.frozen
class Model:
    """What the service documents about one model."""

    name: str
    """The model's name, as a call sends it."""
    context_length: int
    """Longest input and output together, in tokens."""
    max_input: int
    """Longest input, in tokens."""
    takes_prompt: bool | None = attrs.field(default=None, kw_only=True)
    """Whether it takes `prompt` as well as `messages`; None if undocumented."""
    notes: tuple[str, ...] = ()
    """Where sources disagree."""


_LLAMA_31: Final = ("older editions of the page say 128k tokens of context",)
_LLAMA_3: Final = (
    "an older edition says 6,500 tokens of input and 1,500 of output, messages only",
)

_LISTED: Final = (
    Model("llama3.3-70b-instruct", 32_000, 30_000),
    Model("llama3.2-3b-instruct", 32_000, 30_000),
    Model("llama3.2-1b-instruct", 32_000, 30_000),
    Model("llama3.1-405b-instruct", 32_000, 30_000, _LLAMA_31),
    Model("llama3.1-70b-instruct", 32_000, 30_000, _LLAMA_31),
    Model("llama3.1-8b-instruct", 32_000, 30_000, _LLAMA_31),
    Model("llama3-70b-instruct", 8_000, 8_000, _LLAMA_3, takes_prompt=False),
    Model("llama3-8b-instruct", 8_000, 8_000, _LLAMA_3, takes_prompt=False),
    Model(
        "llama2-13b-chat-v2",
        4_000,
        4_000,
        ("the page's HTTP section says prompts of up to 4,096 tokens",),
        takes_prompt=True,
    ),
    Model(
        "llama2-7b-chat-v2",
        4_000,
        4_000,
        ("the page's HTTP section says prompts of up to 2,048 tokens",),
        takes_prompt=True,
    ),
)

MODELS: Final = MappingProxyType({model.name: model for model in _LISTED})
"""Every documented model by its name, newest first."""
