"""The models for other frameworks beside what those frameworks have for DashScope."""
