"""Answers as models give them, each with what is made of it."""

from __future__ import annotations

import json

import attrs
import pytest
from model_answers import ANSWERS, Answer, Trip

from llama_dashscope._protocol.answer_format import AnswerFormat

WANTED = AnswerFormat(Trip)


@pytest.mark.parametrize("answer", ANSWERS, ids=[answer.kind for answer in ANSWERS])
def test_an_answer_is_what_it_means_or_refused(answer: Answer) -> None:
    """Where there is one reading it is taken; where there is none the reason is told."""
    found = WANTED.read(answer.text)
    made = None if found.mismatches else attrs.asdict(found.value)

    assert json.dumps(made) == json.dumps(answer.meant)
    assert answer.reason in " ".join(map(str, found.mismatches))
    assert bool(found.mismatches) == bool(answer.reason)
