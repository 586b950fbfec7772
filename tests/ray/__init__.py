"""Tests of llama_dashscope.ray: by batches of rows, and (real_ray.py) on a Ray of this machine."""
