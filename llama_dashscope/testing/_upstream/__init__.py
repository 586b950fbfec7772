"""Forwards requests of the local DashScope to a server with OpenAI's API."""
