"""The official SDK's face: `Generation`, `AioGeneration`, and what they return."""

from .generation import AioGeneration, Generation, InputRequired, ModelRequired
from .response_types import (
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
]

# Reprs and pickles name a class by where it is public.
for _public in (
    Choice,
    DashScopeAPIResponse,
    DictMixin,
    GenerationOutput,
    GenerationResponse,
    GenerationUsage,
    Message,
    Role,
):
    _public.__module__ = __name__
