"""The journal's file: what is cut, what is dropped, what is refused."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llama_dashscope import (
    BadRequestError,
    BatchResult,
    Choice,
    ConfigurationError,
    DashScopeError,
    InternalServerError,
    Message,
    Output,
    RateLimitError,
    Response,
    ToolCall,
    Usage,
    read_journal,
)
from llama_dashscope.batch import journal as module
from llama_dashscope.batch.digest_index import DigestIndex, id_digest
from llama_dashscope.batch.file_lock import try_lock
from llama_dashscope.batch.journal import Again, Journal
from llama_dashscope.batch.rows import parse_line, read_result, write_line

DIGEST = b"\1\2\3\4"


def result(custom_id: str, *, error: DashScopeError | None = None) -> BatchResult:
    """Make a result, sent once."""
    response = None if error else Response(output=Output("text", "stop"), usage=Usage(1, 2))
    return BatchResult(custom_id, 3, response, error, attempts=1, seconds=0.5)


def open_journal(path: Path, again: Again = "passing") -> tuple[Journal, DigestIndex]:
    """Open a journal with an index of its own."""
    index = DigestIndex()
    return Journal.open(path, again, index), index


def write(path: Path, *results: BatchResult) -> None:
    """Write a journal."""
    journal, _ = open_journal(path)
    for each in results:
        journal.append(each, "a-model", DIGEST)
    journal.close()


def ids(path: Path) -> list[str]:
    """Return the ids of a journal."""
    return [each.custom_id for each in read_journal(path)]


def test_a_line_has_the_form_of_openai(tmp_path: Path) -> None:
    """Programs that read OpenAI's batch output read a journal."""
    path = tmp_path / "a.jsonl"
    write(path, result("a"), result("b", error=RateLimitError("slow", code="T", status_code=429)))

    answered, failed = map(json.loads, path.read_text("utf-8").splitlines())

    assert answered["custom_id"] == "a"
    assert answered["error"] is failed["response"] is None
    assert answered["response"]["status_code"] == 200
    body = answered["response"]["body"]
    assert body["object"] == "chat.completion"
    assert body["model"] == "a-model"
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "text"}
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert failed["error"]["code"] == "T"
    assert failed["error"]["message"] == "slow"


def test_numbers_that_json_does_not_have(tmp_path: Path) -> None:
    """Other programs read a line whose answer has NaN or infinity beside it: null stands there."""
    path = tmp_path / "a.jsonl"
    extra = {"odd": [float("nan"), float("-inf")], "name": "你"}
    write(path, attrs.evolve(result("a"), response=Response(output=Output("text"), extra=extra)))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    line = path.read_text("utf-8")
    body = json.loads(line, parse_constant=refuse)["response"]["body"]
    assert (body["odd"], body["name"]) == ([None, None], "你")
    assert "你" in line
    assert ids(path) == ["a"]


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_torn_last_line_is_cut(tmp_path: Path, cut: int) -> None:
    """Wherever a kill came, the lines before it stay and the next one is whole."""
    path = tmp_path / "a.jsonl"
    write(path, result("a"), result("b"))
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(whole[: len(whole) - 1 - cut * (len(lines[1]) - 1) // 40])
    assert ids(path) == ["a"]

    write(path, result("c"))

    assert ids(path) == ["a", "c"]


def test_zeros_of_a_power_failure_are_cut(tmp_path: Path) -> None:
    """A file system may have kept the length of a file and lost its end."""
    path = tmp_path / "a.jsonl"
    write(path, result("a"))
    path.write_bytes(path.read_bytes() + bytes(100))

    write(path, result("b"))

    assert ids(path) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("a letter to my aunt", 1),
        ("a letter to my aunt\n", 1),
        ('{"id":"batch_req_0"}\n', 1),
        ('{"id":"batch_req_0","custom_id":"a","response":{},"error":null}\n', 1),
        (
            '{"id":"batch_req_0","custom_id":1,"response":{},"error":null,"body_digest":"00000000"}\n',
            1,
        ),
        (
            '{"id":"batch_req_0","custom_id":"","response":{},"error":{},"body_digest":"00000000"}\n',
            1,
        ),
        ('{"id":"batch_req_0","custom_id":"","response":{},"error":null,"body_digest":"zz"}\n', 1),
        ('{"id":"batch_req_0","custom_id":"","response":{},"error":null,"body_digest":"00"}\n', 1),
        ('{"id":"batch_req_0" and so on\n', 1),
        ("GOOD\n{}\n", 2),
        ("GOOD\n7\n", 2),
    ],
)
def test_a_file_of_another_kind_is_left_alone(tmp_path: Path, text: str, number: int) -> None:
    """A mistaken path costs nobody a file."""
    good = write_line(result("a"), "a-model", DIGEST)
    path = tmp_path / "a.jsonl"
    path.write_bytes(before := text.encode().replace(b"GOOD\n", good))

    with pytest.raises(ConfigurationError, match=rf"line {number} of .*a\.jsonl is not a line"):
        open_journal(path)

    assert path.read_bytes() == before
    path.write_bytes(before + b"\n")
    with pytest.raises(ConfigurationError, match=rf"line {number} of"):
        list(read_journal(path))


def test_a_line_that_is_too_deep(tmp_path: Path) -> None:
    """It is no line of a journal either."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"id":"batch_req_0","a":' + "[" * 200_000 + "\n")

    with pytest.raises(ConfigurationError, match="is not a line"):
        open_journal(path)
    with pytest.raises(ConfigurationError, match="is not a line"):
        list(read_journal(path))


def test_an_answer_that_is_none(tmp_path: Path) -> None:
    """A line that somebody has edited is no answer."""
    path = tmp_path / "a.jsonl"
    write(path, result("a"))
    path.write_text(path.read_text().replace('"choices"', '"voices"'))

    with pytest.raises(ConfigurationError, match="line 1"):
        list(read_journal(path))


def test_dropped_lines_leave_the_others_as_they_were(tmp_path: Path) -> None:
    """What is asked again goes, first, last and in between; the rest stays byte for byte."""
    path = tmp_path / "a.jsonl"
    passing = InternalServerError("oh", retryable=True)
    final = BadRequestError("no")
    lines = [
        result("a", error=passing),
        result("b"),
        result("c", error=passing),
        result("d", error=passing),
        result("e", error=final),
        result("f"),
        result("g", error=passing),
    ]
    write(path, *lines)
    kept = [write_line(each, "a-model", DIGEST) for each in lines if each.custom_id in "bef"]

    journal, index = open_journal(path)
    assert path.read_bytes() == b"".join(kept)
    assert len(index) == 3
    assert index.get(id_digest("e")) == (DIGEST, module.KEPT)
    assert index.get(id_digest("a")) is None
    journal.append(result("a"), "a-model", DIGEST)
    with pytest.raises(ConfigurationError, match="another run"):
        open_journal(path)
    journal.close()

    assert ids(path) == ["b", "e", "f", "a"]
    assert list(tmp_path.iterdir()) == [path]


def test_large_files_are_copied_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the parts fall."""
    path = tmp_path / "a.jsonl"
    monkeypatch.setattr(module, "COPIED", 7)
    write(path, result("a"), result("b", error=DashScopeError("x", retryable=True)), result("c"))

    write(path)

    assert ids(path) == ["a", "c"]


def test_an_id_with_two_lines_keeps_the_first(tmp_path: Path) -> None:
    """Such a file was put together by hand; what is paid for is kept once."""
    path = tmp_path / "a.jsonl"
    line = write_line(result("a"), "a-model", DIGEST)
    path.write_bytes(line * 2)

    write(path)

    assert path.read_bytes() == line


def test_a_failed_copy_leaves_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk is full just then, nothing is lost, and the lock is free again."""
    path = tmp_path / "a.jsonl"
    write(path, result("a"), result("b", error=DashScopeError("x", retryable=True)))
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("llama_dashscope.batch.journal.os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            open_journal(path)

    assert path.read_bytes() == before
    write(path)
    assert ids(path) == ["a"]


def test_a_run_that_waits_for_nobody_gets_the_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its opening and its locking another run may put a new file there, or take it away."""
    path = tmp_path / "a.jsonl"
    write(path, result("a"))
    line = write_line(result("b"), "a-model", DIGEST)
    lines = [b"", line]

    def late(descriptor: int) -> bool:
        if lines:
            path.unlink()
            if new := lines.pop(0):
                path.write_bytes(new)
        return try_lock(descriptor)

    monkeypatch.setattr("llama_dashscope.batch.journal.try_lock", late)

    journal, index = open_journal(path)
    journal.close()

    assert index.get(id_digest("b"))
    assert ids(path) == ["b"]


def test_short_writes_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system may take a part of a line only."""
    path = tmp_path / "a.jsonl"
    real = os.write

    def short(descriptor: int, data: memoryview) -> int:
        return real(descriptor, data[:10])

    monkeypatch.setattr("llama_dashscope.batch.journal.os.write", short)

    write(path, result("a"))

    assert ids(path) == ["a"]


def test_the_disk_is_told_only_of_news(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync after a write, none without."""
    told: list[int] = []
    monkeypatch.setattr(module, "_sync", told.append)
    journal, _ = open_journal(tmp_path / "a.jsonl")
    journal.sync()
    assert not told

    journal.append(result("a"), "a-model", DIGEST)
    journal.sync()
    journal.sync()
    journal.close()

    assert len(told) == 1


def test_reading_while_another_writes(tmp_path: Path) -> None:
    """A reader sees whole lines only."""
    path = tmp_path / "a.jsonl"
    journal, _ = open_journal(path)

    def work() -> None:
        for at in range(300):
            journal.append(result(str(at)), "m", DIGEST)

    writer = threading.Thread(target=work)
    writer.start()
    while writer.is_alive():
        seen = ids(path)
        assert seen == [str(at) for at in range(len(seen))]
    journal.close()

    assert len(ids(path)) == 300


TEXT = st.text(st.characters(exclude_categories=[]), max_size=20)
EXTRA = st.dictionaries(
    st.sampled_from(["reasoning", "model_name", "x"]), st.one_of(TEXT, st.integers()), max_size=2
)
USAGE = st.builds(Usage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), extra=EXTRA)
MESSAGE = st.builds(
    Message,
    st.just("assistant"),
    TEXT,
    st.one_of(st.none(), st.just((ToolCall(id="call_1"),))),
    extra=st.dictionaries(st.just("reasoning_content"), TEXT),
)
CHOICES = st.lists(st.builds(Choice, st.sampled_from(["stop", None]), MESSAGE), min_size=1)
RESPONSE = st.builds(
    Response,
    request_id=st.text("abc", max_size=5),
    output=st.one_of(
        st.builds(Output, TEXT, st.just("stop"), extra=EXTRA),
        st.builds(Output, choices=CHOICES.map(tuple), extra=EXTRA),
    ),
    usage=st.one_of(st.none(), USAGE),
    extra=EXTRA,
)


@given(RESPONSE, TEXT)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_an_answer_comes_back_as_it_was(response: Response, custom_id: str) -> None:
    """Only the form of a `text` answer changes, and the numbers of choices are written down."""
    line = write_line(BatchResult(custom_id, 7, response, None, 2, 0.25), "m", DIGEST)
    back = read_result(parse_line(line))

    assert line.count(b"\n") == 1
    assert (back.custom_id, back.position, back.attempts, back.seconds) == (custom_id, 7, 2, 0.25)
    read = back.unwrap()
    assert (read.text, read.finish_reason) == (response.text, response.finish_reason)
    assert read.tool_calls == response.tool_calls
    assert (read.usage, read.extra) == (response.usage, response.extra)
    assert read.output.extra == response.output.extra
    assert [each.message.extra for each in read.output.choices or ()] == [
        each.message.extra for each in response.output.choices or [Choice()]
    ]


@given(st.sampled_from([RateLimitError, BadRequestError, DashScopeError]), TEXT, st.booleans())
def test_an_error_comes_back_as_what_it_was(
    kind: type[DashScopeError], partial: str, retryable: bool
) -> None:
    """Its class, code, words, and what had arrived."""
    error = kind("words", code="C", status_code=418, request_id="r", retryable=retryable)
    error.partial_text = partial

    back = read_result(parse_line(write_line(result("a", error=error), "m", DIGEST))).error

    assert back is not None
    assert type(back) is kind
    assert vars(back) == vars(error)


@pytest.mark.parametrize("kind", ["Unheard", "Usage"])
def test_an_error_of_a_class_that_there_is_not(kind: str) -> None:
    """A later version may know more; its errors are ours all the same."""
    line: dict[str, Any] = json.loads(
        write_line(result("a", error=DashScopeError("x")), "m", DIGEST)
    )
    line["error"]["type"] = kind

    assert type(read_result(line).error) is DashScopeError
