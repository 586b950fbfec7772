"""The lines of a journal: converts results to the form of OpenAI's batch files, and back."""

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from llama_dashscope import _errors
from llama_dashscope._errors import DashScopeError
from llama_dashscope._models import Response, to_json
from llama_dashscope._protocol.converter import structure, unstructure
from llama_dashscope._sanitize import LONGEST_NAME, sanitize

from .digest_index import BODY
from .results import BatchResult, may_pass

__all__ = ["BEGIN", "JournalLine", "parse_line", "read_result", "write_line"]

BEGIN: Final = b'{"id":"batch_req_'
"""The beginning of every line."""

ABSENT: Final = ("code", "message")
"""Fields of an answer that are left out if they are empty."""

JournalLine = Mapping[str, Any]

TOKENS: Final = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}
"""OpenAI's names of token counts, and the service's."""


def write_line(result: BatchResult, model: str, digest: bytes) -> bytes:
    """Return a result as a line, including its line feed.

    Args:
        result: the result.
        model: the model that was asked.
        digest: the digest of the request body.
    """
    line = {
        "id": f"batch_req_{result.position}",
        "custom_id": result.custom_id,
        "response": None if result.response is None else _from_response(result.response, model),
        "error": None if result.error is None else _from_error(result.error),
        "attempts": result.attempts,
        "seconds": round(result.seconds, 3),
        "body_digest": digest.hex(),
    }
    text = to_json(line, (",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"


def parse_line(line: bytes) -> JournalLine:
    """Parse a line, only far enough to check that it belongs to a journal.

    Raises:
        ValueError: it is not a line of a journal.
    """
    row: object = json.loads(line) if line.startswith(BEGIN) else None
    if isinstance(row, dict):
        found = cast("dict[str, object]", row)
        ended = isinstance(found.get("response"), dict) != isinstance(found.get("error"), dict)
        if ended and isinstance(found.get("custom_id"), str) and _is_digest(found):
            return found
    raise ValueError("not a line of a journal")


def read_result(row: JournalLine) -> BatchResult:
    """Read the result in a line.

    Raises:
        ValueError: the answer in it is invalid.
    """
    response, error = row["response"], row["error"]
    return BatchResult(
        row["custom_id"],
        int(row["id"].removeprefix("batch_req_")),
        None if response is None else _to_response(response),
        None if error is None else _to_error(error),
        row["attempts"],
        row["seconds"],
    )


def _is_digest(row: Mapping[str, object]) -> bool:
    digest = row.get("body_digest")
    return isinstance(digest, str) and len(bytes.fromhex(digest)) == BODY


def _from_response(response: Response, model: str) -> dict[str, Any]:
    """Return an answer as OpenAI's chat completion; fields unknown there keep their names."""
    whole = unstructure(response)
    output: dict[str, Any] = whole.pop("output")
    usage: dict[str, Any] | None = whole.pop("usage")
    status, request_id = whole.pop("status_code"), whole.pop("request_id")
    body = {
        "id": request_id,
        "object": "chat.completion",
        "model": model,
        "choices": _choices(output),
        "usage": usage and {_openai_name(name): count for name, count in usage.items()},
        **{name: value for name, value in whole.items() if value or name not in ABSENT},
    }
    if rest := {name: value for name, value in output.items() if value is not None}:
        body["output"] = rest
    return {"status_code": status, "request_id": request_id, "body": body}


def _choices(output: dict[str, Any]) -> list[dict[str, Any]]:
    """Remove the choices from an output; a reply in the `text` format becomes one choice."""
    choices: list[dict[str, Any]] | None = output.pop("choices")
    if not choices:
        text = {"role": "assistant", "content": output.pop("text")}
        return [{"index": 0, "message": text, "finish_reason": output.pop("finish_reason")}]
    return [{"index": index, **choice} for index, choice in enumerate(choices)]


def _openai_name(name: str) -> str:
    return next((theirs for theirs, ours in TOKENS.items() if ours == name), name)


def _to_response(row: Mapping[str, Any]) -> Response:
    body = dict(row["body"])
    for name in ("id", "object", "model"):
        body.pop(name)
    usage: dict[str, Any] | None = body.pop("usage")
    payload = {
        **body,
        "status_code": row["status_code"],
        "request_id": row["request_id"],
        "output": {"choices": body.pop("choices"), **body.pop("output", {})},
        "usage": usage and {TOKENS.get(name, name): count for name, count in usage.items()},
    }
    del payload["choices"]
    return structure(payload, Response)


def _from_error(error: DashScopeError) -> dict[str, Any]:
    return {
        "code": error.code,
        "message": error.message,
        "type": type(error).__name__,
        "status_code": error.status_code,
        "request_id": error.request_id,
        "retryable": error.retryable,
        "passing": may_pass(error),
        **({"partial_text": error.partial_text} if error.partial_text else {}),
    }


def _to_error(row: Mapping[str, Any]) -> DashScopeError:
    kind = getattr(_errors, str(row["type"]), DashScopeError)
    if not (isinstance(kind, type) and issubclass(kind, DashScopeError)):
        kind = DashScopeError
    error = kind(
        sanitize(row["message"]),
        code=sanitize(row["code"], limit=LONGEST_NAME),
        status_code=row["status_code"],
        request_id=sanitize(row["request_id"], limit=LONGEST_NAME),
        retryable=row["retryable"],
    )
    error.partial_text = row.get("partial_text", "")
    return error
