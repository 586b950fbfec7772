"""The official SDK's face: `Generation`, `AioGeneration`, and what they return."""

from ._as_dashscope import as_dashscope
from .generation import AioGeneration, Generation, InputRequired, ModelRequired
from .response_types import (
    TYPES,
    Choice,
    DashScopeAPIResponse,
    DictMixin,
    GenerationOutput,
    GenerationResponse,
    GenerationUsage,
    Message,
    Role,
)

__all__ = [
    "AioGeneration",
    "Choice",
    "DashScopeAPIResponse",
    "DictMixin",
    "Generation",
    "GenerationOutput",
    "GenerationResponse",
    "GenerationUsage",
    "InputRequired",
    "Message",
    "ModelRequired",
    "Role",
    "as_dashscope",
]

# Reprs and pickles name a class by where it is public.
for _public in (*TYPES, as_dashscope):
    _public.__module__ = __name__
