"""Answer a question from three documents: find the relevant one and pass it to the model."""

import asyncio
from itertools import pairwise
from zlib import crc32

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding

from llama_dashscope.llamaindex import LlamaDashScope

DOCUMENTS = [
    Document(text="年假：入职满一年有十天年假，当年有效。", metadata={"file": "年假.md"}),
    Document(text="报销：发票须在三十天内提交，由主管审批。", metadata={"file": "报销.md"}),
    Document(text="远程：每周最多两天可以在家办公。", metadata={"file": "远程.md"}),
]


class Letters(BaseEmbedding):
    """Count pairs of letters; use a real embedding model in its place."""

    def _get_text_embedding(self, text: str) -> list[float]:
        vector = [0.0] * 512
        for pair in pairwise(text):
            vector[crc32("".join(pair).encode()) % len(vector)] += 1
        return vector

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


async def main() -> None:
    """Ask one question; show the answer and where it comes from."""
    llm = LlamaDashScope(model="llama3.3-70b-instruct", temperature=0)
    index = VectorStoreIndex.from_documents(DOCUMENTS, embed_model=Letters())
    answer = await index.as_query_engine(llm=llm, similarity_top_k=1).aquery("发票要在几天内提交？")
    print(answer)
    print("来源：", [found.metadata["file"] for found in answer.source_nodes])


if __name__ == "__main__":
    asyncio.run(main())
