"""Stream parsers for tests without a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llama_dashscope import Chunk
    from llama_dashscope._protocol.failure import ResponseHead
    from llama_dashscope._protocol.stream_parser import StreamParser


def chunk_parser(
    head: ResponseHead, *, incremental: bool = True, choices: int = 1
) -> StreamParser[Chunk]:
    """Return a parser that makes chunks from a stream's bytes."""
    from llama_dashscope._protocol.request import Payload
    from llama_dashscope._protocol.stream_parser import StreamParser, chunks_of

    payload = Payload(b"{}", streaming=True, incremental=incremental, choices=choices)
    return StreamParser(head, payload, chunks_of)
