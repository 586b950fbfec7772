"""A small stand-in for servers like llama.cpp, Ollama and vLLM, with only the standard library."""

from __future__ import annotations

import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast, final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Act = Callable[["Handler"], None]

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


class Handler(BaseHTTPRequestHandler):
    """Answers one request by the engine's script."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Record the request, then run the next act."""
        body = self.rfile.read(int(self.headers["content-length"]))
        engine = cast("Engine", self.server)
        engine.requests.append((self.path, dict(self.headers), json.loads(body)))
        engine.acts.popleft()(self)

    def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Log nothing."""

    def send(self, status: int, body: bytes, kind: str = "application/json", **more: str) -> None:
        """Send an answer that is not streamed."""
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(body)), **more}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def stream(self, lines: Iterable[bytes]) -> None:
        """Send events until there are no more, then close."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for line in lines:
            self.wfile.write(b"data: " + line + b"\n\n")
            self.wfile.flush()


@final
class Engine(ThreadingHTTPServer):
    """A server with OpenAI's chat completions API on loopback."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.acts: deque[Act] = deque()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def chat(self) -> dict[str, Any]:
        """The body of the last request."""
        return self.requests[-1][2]

    def will(self, *acts: Act) -> None:
        """Script the next answers."""
        self.acts.extend(acts)

    def __enter__(self) -> Engine:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


def says(message: dict[str, Any] | str, finish: str = "stop", **more: object) -> Act:
    """Answer a call with one choice."""
    told = {"role": "assistant", "content": message} if isinstance(message, str) else message
    body = {"choices": [{"index": 0, "message": told, "finish_reason": finish}], "usage": USAGE}
    return lambda handler: handler.send(200, json.dumps({**body, **more}).encode())


def refuses(status: int, body: object, **headers: str) -> Act:
    """Answer with an error."""
    text = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return lambda handler: handler.send(status, text, **headers)


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> bytes:
    """Return one chunk of a stream."""
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return json.dumps({"object": "chat.completion.chunk", "choices": [choice]}).encode()


def streams(*chunks: bytes, usage: bool = True, done: bool = True) -> Act:
    """Answer with a stream."""
    last = [json.dumps({"choices": [], "usage": USAGE}).encode()] if usage else []
    return lambda handler: handler.stream([*chunks, *last, *([b"[DONE]"] if done else [])])
