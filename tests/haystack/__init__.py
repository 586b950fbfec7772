"""The adapter for Haystack that docs/guide/frameworks.md shows."""
