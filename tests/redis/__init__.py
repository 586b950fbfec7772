"""Tests of llama_dashscope.redis: with a real Redis, and by what a client is told."""
