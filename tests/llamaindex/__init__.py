"""`LlamaDashScope`, in LlamaIndex's own queries, agents and programs."""
