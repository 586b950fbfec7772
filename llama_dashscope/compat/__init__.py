"""The official SDK's face: `Generation` and `AioGeneration`."""

from .generation import AioGeneration, Generation, InputRequired, ModelRequired

__all__ = ["AioGeneration", "Generation", "InputRequired", "ModelRequired"]
