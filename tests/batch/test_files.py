"""Files of questions and answers, progress on a stream, a run as a picture."""

from __future__ import annotations

import io
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree as ET

import pytest

from llama_dashscope import (
    BadRequestError,
    BatchResult,
    BatchSummary,
    Choice,
    ConfigurationError,
    DashScopeError,
    InvalidRequestError,
    Message,
    Output,
    Response,
    Usage,
)
from llama_dashscope.batch import files, plot, progress
from llama_dashscope.batch.files import (
    check_table,
    count_items,
    is_table,
    read_items,
    write_table,
)
from llama_dashscope.batch.plot import Timeline
from llama_dashscope.batch.progress import show_progress

arrow: Any = import_module("pyarrow")  # which has no types
parquet: Any = import_module("pyarrow.parquet")


def test_lines_of_json(tmp_path: Path) -> None:
    """Dicts, prompts and conversations; empty lines and a byte order mark don't count."""
    items = [{"prompt": "a"}, "b", [{"role": "user", "content": "c"}]]
    path = tmp_path / "in.jsonl"
    path.write_text("\n\n".join(map(json.dumps, items)) + "\n", "utf-8-sig")

    assert list(read_items(str(path))) == items
    assert count_items(str(path)) == 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'"a"\n{\n', "line 2 of the input is not JSON"),
        (b'"a"\n' * 9 + b'"\xff"\n', "line 10 of the input is not JSON: 'utf-8' codec can't"),
        (b'"a"\n' + b"[" * 200_000, "line 2 of the input is not JSON"),
    ],
)
def test_a_line_that_is_none(tmp_path: Path, data: bytes, message: str) -> None:
    """The message says where it is."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(data)

    with pytest.raises(InvalidRequestError, match=message):
        list(read_items(str(path)))


def test_csv(tmp_path: Path) -> None:
    """Texts are texts, other columns are JSON where they can be, empty cells are left out."""
    path = tmp_path / "in.csv"
    conversation = json.dumps([{"role": "user", "content": "7"}]).replace('"', '""')
    path.write_text(
        f'custom_id,prompt,messages,seed,stop\n1,2,,7,"end"\nb,,"{conversation}",,"[""x""]"\nc\n',
        "utf-8-sig",
    )

    assert list(read_items(str(path))) == [
        {"custom_id": "1", "prompt": "2", "seed": 7, "stop": "end"},
        {"custom_id": "b", "messages": [{"role": "user", "content": "7"}], "stop": ["x"]},
        {"custom_id": "c"},
    ]
    assert count_items(str(path)) is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"prompt\n\xff\n", "line 2 of the input: it is not UTF-8"),
        (
            b"prompt\n" + b"a\n" * 8 + "你好\n".encode("gbk"),
            "line 10 of the input: it is not UTF-8",
        ),
        (b"\xb5,prompt\na,b\n", "line 2 of the input: it is not UTF-8"),
        (b"prompt\na\nb, and c\n", "line 3 of the input: it has more cells than the table has"),
        (b"prompt\na\n" + b"b" * 101, "line 3 of the input: field larger than field limit"),
    ],
    ids=str,
)
def test_csv_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, message: str
) -> None:
    """A row that can't be read is named with its place."""
    monkeypatch.setattr(files, "LONGEST_CELL", 100)
    path = tmp_path / "in.csv"
    path.write_bytes(data)

    with pytest.raises(InvalidRequestError) as refused:
        list(read_items(str(path)))

    assert message in refused.value.message


def test_csv_with_a_long_cell(tmp_path: Path) -> None:
    """A question may be as long as a model can read; Python's limit is 128 Ki."""
    path = tmp_path / "in.csv"
    path.write_text("prompt\n" + "a" * 500_000)

    [item] = list(read_items(str(path)))

    assert item == {"prompt": "a" * 500_000}


@pytest.mark.parametrize("name", ["in.CSV", "in.Parquet"])
def test_suffixes_in_capitals(tmp_path: Path, name: str) -> None:
    """They mean the same."""
    path = tmp_path / name
    table = [BatchResult("a", 0)]

    write_table(path, table)

    assert is_table(path)
    assert [cast("Any", item)["custom_id"] for item in read_items(str(path))] == ["a"]


def test_parquet(tmp_path: Path) -> None:
    """Rows with nested messages; nulls are left out."""
    path = tmp_path / "in.parquet"
    rows: list[dict[str, Any]] = [
        {"custom_id": "a", "prompt": "hi", "messages": None},
        {"custom_id": "b", "prompt": None, "messages": [{"role": "user", "content": "c"}]},
    ]
    parquet.write_table(arrow.Table.from_pylist(rows), path)

    assert list(read_items(str(path))) == [
        {"custom_id": "a", "prompt": "hi"},
        {"custom_id": "b", "messages": [{"role": "user", "content": "c"}]},
    ]
    assert count_items(str(path)) == 2


def test_parquet_with_fields_that_some_messages_lack(tmp_path: Path) -> None:
    """In Parquet they are null; a message doesn't have them."""
    path = tmp_path / "in.parquet"
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "b", "tool_call_id": "c"},
    ]
    parquet.write_table(arrow.Table.from_pylist([{"messages": messages}]), path)

    assert list(read_items(str(path))) == [{"messages": messages}]


def test_parquet_that_is_none(tmp_path: Path) -> None:
    """The message says which file it is."""
    path = tmp_path / "in.parquet"
    path.write_bytes(b"prompt")

    with pytest.raises(InvalidRequestError, match=r"in\.parquet can't be read as Parquet"):
        count_items(str(path))
    with pytest.raises(InvalidRequestError, match=r"in\.parquet can't be read as Parquet"):
        list(read_items(str(path)))


def test_parquet_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)

    with pytest.raises(ConfigurationError, match="pip install pyarrow"):
        list(read_items("in.parquet"))
    with pytest.raises(ConfigurationError, match="pip install pyarrow"):
        check_table(Path("out.parquet"))
    check_table(Path("out.csv"))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_results_as_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Answers, errors, and what they cost, in as many parts as it takes."""
    monkeypatch.setattr(files, "ROWS", 2)
    failed = DashScopeError("words", request_id="r")
    coded = BadRequestError("words", code="C")
    choice = Choice("length", Message("assistant", "多"))
    results = [
        BatchResult(
            "a", 0, Response(request_id="q", output=Output("x", "stop"), usage=Usage(1, 2))
        ),
        BatchResult("b", 1, Response(output=Output(choices=(choice,)))),
        BatchResult("c", 2, error=failed, attempts=3, seconds=0.5),
        BatchResult("d", 3, error=coded),
        BatchResult("e", 4),
    ]
    path = tmp_path / f"out.{kind}"

    write_table(path, results)

    if kind == "csv":
        lines = path.read_text("utf-8").splitlines()
        assert lines[1:3] == ["a,x,stop,1,2,,,0,0.0,q", "b,多,length,,,,,0,0.0,"]
        assert lines[3] == "c,,,,,DashScopeError,words,3,0.5,r"
        assert lines[4].startswith("d,,,,,C,words,")
    else:
        rows = parquet.read_table(path).to_pylist()
        assert [row["text"] for row in rows] == ["x", "多", None, None, None]
        assert [row["input_tokens"] for row in rows] == [1, None, None, None, None]
        assert rows[2]["error_code"] == "DashScopeError"
    assert list(tmp_path.iterdir()) == [path]


class Terminal(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        """Be one."""
        return True


def test_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows how many there are of how many, tokens, failures and refusals."""
    screen = Terminal()
    shown = show_progress(10, screen)
    monkeypatch.setattr(progress, "monotonic", lambda: 1e9)

    assert shown.is_due()
    assert not shown.is_due()
    shown.update(BatchSummary(answered=3, failed=1, skipped=2, refusals=5, input_tokens=1234))
    shown.close()

    assert "6/10" in screen.getvalue()
    assert "1,234 tokens, 1 failed, 5 refused" in screen.getvalue()


def test_a_bar_that_can_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tqdm it says what to install, and writes lines."""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    screen = Terminal()

    show_progress(10, screen)

    assert screen.getvalue() == "for a progress bar: pip install 'llama-dashscope[batch]'\n"


def test_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """One every ten seconds, with the rate and the time left where that is known."""
    now = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    log, blind = io.StringIO(), io.StringIO()
    known, unknown = show_progress(5000, log), show_progress(None, blind)
    for now[0], summary in (
        (9.9, BatchSummary(answered=900)),
        (10.0, BatchSummary(skipped=900, seconds=10)),
        (12.0, BatchSummary(answered=1000, seconds=12)),
        (20.0, BatchSummary(answered=1000, skipped=300, seconds=1000)),
    ):
        known.update(summary)
        unknown.update(summary)
    known.close()

    assert log.getvalue().splitlines() == [
        "900 of 5,000, 0.0 a second, 0 tokens",
        "1,300 of 5,000 (1:01:40 left), 1.0 a second, 0 tokens",
    ]
    assert blind.getvalue().splitlines() == [
        "900, 0.0 a second, 0 tokens",
        "1,300, 1.0 a second, 0 tokens",
    ]


def test_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers, refusals, failures and latency, each at its time; a long run takes no more room."""
    now = [0.0]
    monkeypatch.setattr(plot, "monotonic", lambda: now[0])
    line = Timeline()
    for second in range(3):
        now[0] = float(second)
        for _ in range(second):
            line.answered(0.5)
    line.failed()
    line.refusals(4)
    line.refusals(6)

    drawn = line.svg("a < b & c")

    picture = ET.fromstring(drawn)  # noqa: S314  # our own
    texts = [each.text for each in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "a < b & c"
    assert texts[1:5] == ["answers per second", "2", "0", "3 s"]
    assert texts[6] == "6"
    curves = [each.get("points") for each in picture.iter("{http://www.w3.org/2000/svg}polyline")]
    assert curves[0] == "60.0,190.0 460.0,120.0 860.0,50.0"
    assert curves[3] == "60.0,760.0 460.0,620.0 860.0,620.0"
    now[0] = 100_000.0
    line.answered(1.0)
    assert len(line.svg("").split()) < 4 * plot.MOST + 100


def test_a_picture_of_nothing() -> None:
    """A run that ended at once can be drawn as well."""
    assert "<svg" in Timeline().svg("")
