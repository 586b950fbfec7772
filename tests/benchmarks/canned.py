"""The answers of the benchmarks' server: every byte is ready before a client asks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import inf

ANSWER = "你好,我是一个人工智能语言模型,我可以帮助回答问题、提供信息和完成任务。" * 4
REQUEST_ID = "774a769d-b49e-9e25-8f49-5f6277cc6f8c"
SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream;charset=UTF-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
SSE_END = b"0\r\n\r\n"
TOKENS = 200
"""Tokens of a question and its answer."""


@dataclass(frozen=True)
class Mode:
    """How a stream is sent: the number of its frames, and the time between them.

    Args:
        frames: how many frames a stream has.
        interval: seconds from one frame to the next; 0 sends all in one write, and infinity
            sends one frame and keeps the stream open.
    """

    frames: int
    interval: float


MODES = {
    "burst": Mode(500, 0.0),
    "paced": Mode(400, 0.003),  # the slowest client can just keep up: frames don't pile up
    "first": Mode(2, 0.0),
    "held": Mode(2, inf),
}


def compact(value: object) -> bytes:
    """Return JSON as the service writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def whole(body: object, status: str = "200 OK") -> bytes:
    """Return an answer that is not streamed, head and body."""
    content = compact(body)
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-request-id: {REQUEST_ID}\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


def chunk(content: bytes) -> bytes:
    """Return one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(content), content)


def dashscope_frame(number: int, text: str, finish_reason: str) -> bytes:
    """Return a frame of a stream of DashScope's own protocol."""
    message = {"content": text, "role": "assistant"}
    body = {
        "output": {"choices": [{"message": message, "finish_reason": finish_reason}]},
        "usage": {"total_tokens": 44 + number, "input_tokens": 44, "output_tokens": number},
        "request_id": REQUEST_ID,
    }
    return chunk(b"id:%d\nevent:result\n:HTTP_STATUS/200\ndata:%b\n\n" % (number, compact(body)))


def openai_frame(text: str, finish_reason: str | None) -> bytes:
    """Return a frame of a stream of the OpenAI-compatible protocol."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    body = {
        "id": f"chatcmpl-{REQUEST_ID}",
        "object": "chat.completion.chunk",
        "created": 1735113344,
        "model": "llama3.3-70b-instruct",
        "choices": [choice],
    }
    return chunk(b"data: %b\n\n" % compact(body))


def dashscope_frames(count: int) -> list[bytes]:
    """Return all the frames of a stream of DashScope's own protocol."""
    frames = [dashscope_frame(number, "你好", "null") for number in range(1, count)]
    return [*frames, dashscope_frame(count, "", "stop")]


def openai_frames(count: int) -> list[bytes]:
    """Return all the frames of a stream of the OpenAI-compatible protocol."""
    frames = [openai_frame("你好", None)] * (count - 1)
    return [*frames, openai_frame("", "stop") + chunk(b"data: [DONE]\n\n")]


DASHSCOPE_ANSWER = whole(
    {
        "output": {
            "choices": [
                {"finish_reason": "stop", "message": {"role": "assistant", "content": ANSWER}}
            ]
        },
        "usage": {"total_tokens": TOKENS, "output_tokens": 155, "input_tokens": 45},
        "request_id": REQUEST_ID,
    }
)

OPENAI_ANSWER = whole(
    {
        "id": f"chatcmpl-{REQUEST_ID}",
        "object": "chat.completion",
        "created": 1735113344,
        "model": "llama3.3-70b-instruct",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": ANSWER},
            }
        ],
        "usage": {"total_tokens": TOKENS, "completion_tokens": 155, "prompt_tokens": 45},
    }
)

DASHSCOPE_STREAMS = {name: dashscope_frames(mode.frames) for name, mode in MODES.items()}
OPENAI_STREAMS = {name: openai_frames(mode.frames) for name, mode in MODES.items()}
