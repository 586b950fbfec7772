"""`llama-dashscope models`: lists the models and what is known about each."""

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from typing import Final

import attrs

from llama_dashscope import MODELS, Model

from .exit_codes import OK
from .terminal import check_stdout, write

__all__ = ["ABOUT_MODELS", "list_models"]

ABOUT_MODELS: Final = """\
Context and input are in tokens; `prompt?` means that it is not documented
whether the model takes a prompt as well as messages. In April 2025, the service
announced that these models will go offline; only the service can say which ones
still answer. chat also takes names that are not listed here.
"""


def list_models(args: argparse.Namespace) -> int:
    """Print the known models, as a table or as JSON.

    Raises:
        OSError: stdout is closed.
    """
    check_stdout()
    models = list(MODELS.values())
    if args.json:
        text = json.dumps([attrs.asdict(model) for model in models], indent=2)
    else:
        text = _table(models)
    write(text + "\n", sys.stdout)
    return OK


def _table(models: Sequence[Model]) -> str:
    """Return a table of the models, with notes below it: they are long, and some are shared."""
    notes = list(dict.fromkeys(note for model in models for note in model.notes))
    rows = [("MODEL", "CONTEXT", "INPUT", "TAKES", "NOTES")]
    for model in models:
        takes = {True: "messages, prompt", False: "messages", None: "messages, prompt?"}
        marks = " ".join(f"[{notes.index(note) + 1}]" for note in model.notes)
        sizes = f"{model.context_length:,}", f"{model.max_input:,}"
        rows.append((model.name, *sizes, takes[model.takes_prompt], marks))
    a, b, c, d, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = [f"{r[0]:<{a}}  {r[1]:>{b}}  {r[2]:>{c}}  {r[3]:<{d}}  {r[4]}".rstrip() for r in rows]
    footnotes = [
        textwrap.fill(f"[{number}] {note}", 80, subsequent_indent="    ")
        for number, note in enumerate(notes, start=1)
    ]
    return "\n".join([*lines, "", *footnotes, "", ABOUT_MODELS.rstrip()])
