"""Structured answers: the instruction that asks for a type, and reading a value of it.

The service documents no JSON mode for Llama, so the schema goes into the conversation: into its
first message, the only place where the service accepts a system message, or after the prompt.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from llama_dashscope._errors import InvalidRequestError, ParseError
from llama_dashscope._models import Response
from llama_dashscope._sanitize import bounded_repr, sanitize

from .json_schema import json_schema
from .json_text import json_values, several
from .mismatches import Mismatch, find_mismatches
from .strict_converter import strict_converter
from .type_forms import JSON, TypeForm

__all__ = ["AnswerFormat", "Keys", "Reading", "parse_error"]

Keys = tuple[str | int, ...]
"""A path into a JSON value: the keys and indices that lead to an element."""

MOST_NAMED: Final = 20
"""Most mistakes that are listed for the model."""

NOUNS: Final[Mapping[str, str]] = {"object": "JSON object", "array": "JSON array"}
KINDS: Final[Mapping[str, tuple[type, ...]]] = {"object": (dict,), "array": (list,)}


@attrs.frozen
class Reading:
    """The result of reading an answer: a value, or the mistakes in it."""

    value: Any = None
    """The value, if there are no mistakes."""
    unknown_fields: Mapping[Keys, JSON] = attrs.field(factory=dict[Keys, JSON])
    """Fields that the type doesn't have, by their path; empty unless they are to be kept."""
    mismatches: tuple[Mismatch, ...] = ()
    """The mistakes, each with its path."""


class AnswerFormat:
    """The type requested for an answer."""

    def __init__(self, kind: TypeForm, unknown_fields: str = "refuse") -> None:
        """Take a type.

        Args:
            kind: the type.
            unknown_fields: `refuse` or `keep`: what to do with fields that a class doesn't have.

        Raises:
            InvalidRequestError: an argument is invalid.
        """
        if unknown_fields not in {"refuse", "keep"}:
            msg = f"unknown_fields must be 'refuse' or 'keep', got {bounded_repr(unknown_fields)}"
            raise InvalidRequestError(msg)
        schema = json_schema(kind)
        self._kind = kind
        self._keeps = unknown_fields == "keep"
        # A recursive class is a `$ref` to a definition; a union of scalars has a list of types.
        named = str(schema.get("$ref")).removeprefix("#/$defs/")
        whole = str(schema.get("$defs", {}).get(named, schema).get("type"))
        self._picked = KINDS.get(whole, (dict, list))
        noun = NOUNS.get(whole, "JSON value")
        text = json.dumps(schema, ensure_ascii=False)
        self.instruction: str = (
            f"Answer with one {noun} that fits this JSON Schema, and with nothing else:\n{text}"
        )

    def ask(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request's `input` with the instruction added.

        Args:
            content: the `input` of a request: a prompt, or messages.
        """
        text = self.instruction
        if "prompt" in content:
            return {"prompt": f"{content['prompt']}\n\n{text}"}
        first, *others = content["messages"]
        if first["role"] != "system":
            return {"messages": [{"role": "system", "content": text}, first, *others]}
        said = first["content"]
        joined = f"{said}\n\n{text}" if isinstance(said, str) else [*(said or ()), {"text": text}]
        return {"messages": [{**first, "content": joined}, *others]}

    def ask_again(
        self, content: Mapping[str, Any], answer: str, mismatches: tuple[Mismatch, ...]
    ) -> dict[str, Any]:
        """Return the `input` that asks again, with the answer and what is wrong with it.

        Args:
            content: the input before, as `ask` returned it.
            answer: the text of the answer.
            mismatches: the mistakes in it.
        """
        wrong = "\n".join(f"- {each}" for each in mismatches[:MOST_NAMED])
        text = f"This does not fit the schema:\n{wrong}\nAnswer again: the whole JSON, corrected."
        answer = answer if answer.strip() else "(nothing)"  # the service refuses empty messages
        if "prompt" in content:
            return {"prompt": f"{content['prompt']}\n\nYour answer was:\n{answer}\n\n{text}"}
        said = {"role": "assistant", "content": answer}
        return {"messages": [*content["messages"], said, {"role": "user", "content": text}]}

    def read(self, text: str) -> Reading:
        """Read the text of an answer; if it holds several values, take the one that fits."""
        try:
            values = json_values(text, self._picked)
            readings = [self._structure(value) for value in values]
            fitting = [each for each in readings if not each.mismatches] or readings
            if len(fitting) > 1:
                raise several(len(fitting))
        except ValueError as error:
            return Reading(mismatches=(Mismatch((), str(error)),))
        return fitting[0]

    def _structure(self, value: JSON) -> Reading:
        """Make an instance from a JSON value; unknown fields to keep are removed from the value."""
        kept: dict[Keys, JSON] = {}
        while True:
            try:
                return Reading(strict_converter.structure(value, self._kind), kept)
            except Exception as error:  # noqa: BLE001  # a class may raise anything
                mismatches = tuple(find_mismatches(error))
            unknown = [each.keys for each in mismatches if each.unknown and self._keeps]
            if not unknown:
                return Reading(None, kept, mismatches)
            kept.update((keys, _take_out(value, keys)) for keys in unknown)


def parse_error(response: Response, reason: str, mismatches: Sequence[Mismatch] = ()) -> ParseError:
    """Return the error for an answer from which no value can be read.

    Args:
        response: the answer.
        reason: what is wrong with it; completes a sentence that begins with "the answer".
        mismatches: the mistakes in it.
    """
    error = ParseError(
        sanitize(f"the answer {reason}"),
        status_code=response.status_code,
        request_id=response.request_id,
    )
    error.response = response
    error.paths = tuple(each.path for each in mismatches)
    error.partial_text = response.text
    error.usage = response.usage
    return error


def _take_out(value: JSON, keys: Keys) -> JSON:
    """Remove a field from a JSON value and return the field's value."""
    *way, name = keys
    for key in way:
        value = value[key]
    return value.pop(name)
