"""The examples of docs/guide/observability.md run as they stand, each in a Python of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llama_dashscope.testing import LocalDashScope, RateLimited

FOLDER = Path(__file__).parents[2] / "docs/examples/observability"
PAGES = sorted((FOLDER.parents[1]).glob("*/observability.md"))


def ran(name: str, server: LocalDashScope) -> subprocess.CompletedProcess[str]:
    """Run an example as a reader does, against a DashScope on this machine."""
    environ = {**os.environ, **server.environ, "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, str(FOLDER / name)]
    ended = subprocess.run(
        command, capture_output=True, encoding="utf-8", env=environ, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    return ended


def test_spans_on_the_console(server: LocalDashScope) -> None:
    """A span appears, with its retry."""
    server.fault(RateLimited())
    span = json.loads(ran("console.py", server).stdout)

    assert span["name"] == "chat llama3.3-70b-instruct"
    assert span["kind"] == "SpanKind.CLIENT"
    assert [event["name"] for event in span["events"]] == ["llama_dashscope.retry"]


def test_metrics_for_prometheus(server: LocalDashScope) -> None:
    """The metrics have the names that the page queries."""
    told = ran("prometheus.py", server).stdout
    pages = "".join(page.read_text("utf-8") for page in PAGES)
    queried = set(re.findall(r"gen_ai_\w+", pages))
    shown = set(re.findall(r"^gen_ai_\w+", told, re.MULTILINE))
    labels = set(re.findall(r"gen_ai_(?:request_model|token_type)", told))

    assert "gen_ai_client_operation_duration_seconds_bucket" in queried & shown
    streamed = {name for name in queried if "_chunk_" in name}
    assert queried - shown - labels - streamed == set()


def test_an_observer_of_ones_own(server: LocalDashScope) -> None:
    """It counts the tokens of a model."""
    assert re.match(r"\{'llama3.3-70b-instruct': \d+\}", ran("hook.py", server).stdout)


def test_a_log_in_json(server: LocalDashScope) -> None:
    """Each attempt has a line, with its facts as fields."""
    server.fault(RateLimited())
    lines = [json.loads(line) for line in ran("json_log.py", server).stderr.splitlines()]
    refused, answered = [line for line in lines if "attempt" in line]

    assert (refused["attempt"], refused["status"]) == (1, 429)
    assert (answered["attempt"], answered["status"]) == (2, 200)
    assert answered["tokens"] > 0


@pytest.mark.parametrize("example", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.parent.name)
def test_both_pages_show_an_example(page: Path, example: Path) -> None:
    """A reader finds each one in either language."""
    assert f"<!-- ../examples/observability/{example.name} -->" in page.read_text("utf-8")
