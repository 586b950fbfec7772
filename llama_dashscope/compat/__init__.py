"""The official SDK's interface: `Generation`, `AioGeneration`, and what they return."""

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

# So that reprs and pickles name a class by its public path.
for _public in (*TYPES, as_dashscope):
    _public.__module__ = __name__
