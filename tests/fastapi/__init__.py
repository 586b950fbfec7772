"""Tests of llama_dashscope.fastapi."""
