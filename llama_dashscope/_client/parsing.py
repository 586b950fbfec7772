"""The client's methods `aparse` and `parse`, for structured answers."""

from functools import partial
from typing import Literal, Protocol, TypeVar

from llama_dashscope._models import Chunk
from llama_dashscope._protocol.answer_format import AnswerFormat
from llama_dashscope._protocol.arguments import CallArguments, call_arguments
from llama_dashscope._protocol.options import Options, TypeForm, Unpack

from .call import Call
from .call_runner import CallRunner
from .keyword_help import shows_keywords
from .structured_call import Parsed, StructuredCall
from .sync_bridge import run_sync

__all__ = ["ParsingVerbs"]

T = TypeVar("T")


class _Caller(Protocol):
    """The parts of the client that are used here."""

    _engine: CallRunner

    def _prepare(self, model: str, prompt: str | None, arguments: CallArguments) -> Call[Chunk]: ...


class ParsingVerbs:
    """The client's methods for structured answers."""

    @shows_keywords(Options)
    async def aparse(
        self: _Caller,
        model: str,
        into: TypeForm[T],
        prompt: str | None = None,
        *,
        tries: int = 2,
        unknown_fields: Literal["refuse", "keep"] = "refuse",
        **options: Unpack[Options],
    ) -> Parsed[T]:
        """Ask a model for a value of a type, and check its answer.

        The type's JSON Schema is added to the system message, which is made if there is none, or to
        the `prompt`. No value is coerced: `"2"` is not accepted for 2. `response_format` is only
        sent if it is given. A `total` time limit applies to all tries together.

        Args:
            model: name of the model, sent as given; `llama_dashscope.MODELS` lists the known ones.
            into: the type of the value: an attrs class, a dataclass, a TypedDict, an Enum, a
                Literal, a union, or lists and dicts of these. Docstrings of classes and strings in
                `Annotated` describe it to the model.
            prompt: the instruction, for models that take one; instead of `messages`.
            tries: how many answers to ask for at most, 1 or more. After an answer that does not
                fit, the model is shown its mistakes, each with its path.
            unknown_fields: whether fields that a class doesn't have make an answer wrong
                (`refuse`) or are kept in `Parsed.unknown_fields` (`keep`).
            **options: the keywords of `Options`, each with its range and source there.

        Raises:
            ParseError: no answer fits; the error has the last answer, the paths of its mistakes
                and the usage of all answers.
            InvalidRequestError: an argument was refused, or the type has no form in JSON; nothing
                was sent.
            DashScopeError: a call failed; see `acall`.
            TypeError: there is no such keyword.
        """
        try:
            arguments, wanted = call_arguments(**options), AnswerFormat(into, unknown_fields)
        finally:
            del options  # as in `acall`
        prepare = partial(self._prepare, model)
        structured = StructuredCall(prepare, wanted, prompt, arguments, tries)
        return await structured.run(self._engine.whole)

    @shows_keywords(Options)
    def parse(
        self: _Caller,
        model: str,
        into: TypeForm[T],
        prompt: str | None = None,
        *,
        tries: int = 2,
        unknown_fields: Literal["refuse", "keep"] = "refuse",
        **options: Unpack[Options],
    ) -> Parsed[T]:
        """Ask a model for a value of a type, and check its answer, in sync code.

        The type's JSON Schema is added to the system message, which is made if there is none, or to
        the `prompt`. No value is coerced: `"2"` is not accepted for 2. `response_format` is only
        sent if it is given. A `total` time limit applies to all tries together.

        Args:
            model: name of the model, sent as given; `llama_dashscope.MODELS` lists the known ones.
            into: the type of the value: an attrs class, a dataclass, a TypedDict, an Enum, a
                Literal, a union, or lists and dicts of these. Docstrings of classes and strings in
                `Annotated` describe it to the model.
            prompt: the instruction, for models that take one; instead of `messages`.
            tries: how many answers to ask for at most, 1 or more. After an answer that does not
                fit, the model is shown its mistakes, each with its path.
            unknown_fields: whether fields that a class doesn't have make an answer wrong
                (`refuse`) or are kept in `Parsed.unknown_fields` (`keep`).
            **options: the keywords of `Options`, each with its range and source there.

        Raises:
            ParseError: no answer fits; the error has the last answer, the paths of its mistakes
                and the usage of all answers.
            InvalidRequestError: an argument was refused, or the type has no form in JSON; nothing
                was sent.
            DashScopeError: a call failed; see `call`.
            TypeError: there is no such keyword.
        """
        try:
            arguments, wanted = call_arguments(**options), AnswerFormat(into, unknown_fields)
        finally:
            del options  # as in `acall`
        prepare = partial(self._prepare, model)
        structured = StructuredCall(prepare, wanted, prompt, arguments, tries)
        return run_sync(partial(structured.run, self._engine.whole))
