"""`ChatLlamaDashScope`, with the standard tests of LangChain."""
