"""`llama-dashscope chat`: asks one question, or holds a conversation at a terminal."""

import argparse
import codecs
import json
import os
import sys
from contextlib import suppress
from itertools import product
from typing import Final

from llama_dashscope import (
    Client,
    ConfigurationError,
    DashScopeError,
    InvalidRequestError,
    MessageLike,
    Options,
    Response,
)

from .line_editor import LineEditor
from .reach import reach
from .terminal import PROGRAM, check_stdout, is_terminal, print_error, print_status, write

__all__ = ["LEAVE", "chat"]

LEAVE: Final = "Ctrl-Z and Enter" if os.name == "nt" else "Ctrl-D"

SEVERAL_LINES: Final = "A line that ends in \\ continues on the next line."
PASTED_LINES: Final = "Each pasted line is one question; the extra `chat` keeps them together."
CANNED: Final = "canned answers from a local server"

LOCAL_PACE: Final = 40.0
"""Tokens a second of the local server at a terminal, so that it looks like a real model."""


def chat(args: argparse.Namespace) -> int:
    """Run the command and return the exit code.

    Raises:
        ConfigurationError: there is no key, or an option is invalid.
        InvalidRequestError: an option is invalid, or there is no question.
        DashScopeError: the call failed; the text received is on stdout.
        OSError: stdout is closed.
    """
    check_stdout()
    interactive = args.prompt is None and is_terminal(sys.stdin)
    question = "" if interactive else _question(args.prompt)
    pace = LOCAL_PACE if is_terminal(sys.stdout) else None
    with reach(args, tokens_per_second=pace) as client:
        conversation = _Conversation(client, args)
        if interactive:
            _converse(conversation, args)
        else:
            if args.local and is_terminal(sys.stderr):
                print_status(f"note: {CANNED}, not from {args.model}")
            conversation.ask(question)
    return 0


def _question(prompt: str | None) -> str:
    """Join the prompt and the piped text.

    Raises:
        InvalidRequestError: both are empty.
    """
    parts = (prompt or "", "" if is_terminal(sys.stdin) else _piped())
    question = "\n\n".join(part for part in parts if part.strip())
    if not question:
        raise InvalidRequestError(f"there is no question; ask one with {PROGRAM} chat 'QUESTION'")
    return question


def _piped() -> str:
    """Read all of stdin, as UTF-8 or else in the locale's encoding.

    Raises:
        InvalidRequestError: it is not text in these encodings.
    """
    if sys.stdin is None:  # the parent process closed it
        return ""
    data = sys.stdin.buffer.read()
    for whole, encoding in product((True, False), ("utf-8-sig", sys.stdin.encoding)):
        with suppress(UnicodeDecodeError):
            text: str = codecs.getincrementaldecoder(encoding)().decode(data, final=whole)
            if not whole:
                print_status("note: the piped text ends in half a character, which was left out")
            return text.rstrip()
    raise InvalidRequestError("the piped text is not UTF-8; convert it, for example with iconv")


class _Conversation:
    """The messages so far, with the options for asking and showing more."""

    def __init__(self, client: Client, args: argparse.Namespace) -> None:
        self._client = client
        self._model: str = args.model
        self._options = Options(temperature=args.temperature, max_tokens=args.max_tokens)
        self._as_json: bool = args.json
        self._streams = not (args.no_stream or args.json)
        self._messages: list[MessageLike] = []
        if args.system:
            self._messages.append({"role": "system", "content": args.system})
        self._said = ""
        self._in_line = False

    def ask(self, question: str) -> None:
        """Ask a question and show the answer.

        An incomplete answer, stopped or broken off, stays in the conversation, so that the model
        can be asked to continue it. A question without any answer is removed.

        Raises:
            DashScopeError: the call failed; the text received is on stdout.
        """
        messages: list[MessageLike] = [*self._messages, {"role": "user", "content": question}]
        self._said = ""
        try:
            self._answer(messages)
        except DashScopeError as error:
            if not self._as_json:
                self._show(error.partial_text[len(self._said) :])
            raise
        except KeyboardInterrupt:
            if not self._in_line and is_terminal(sys.stderr):
                write("\n", sys.stderr)  # below the terminal's ^C
            raise
        finally:
            if self._said:
                self._messages = [*messages, {"role": "assistant", "content": self._said}]
            self._end_line()

    def _answer(self, messages: list[MessageLike]) -> None:
        options: Options = {**self._options, "messages": messages}
        if self._streams:
            with self._client.stream(self._model, **options) as stream:
                for chunk in stream:
                    self._show(chunk.delta)
            response = stream.response
        else:
            response = self._client.call(self._model, **options)
            self._show_whole(response)
        if response.finish_reason == "length" and not self._as_json:
            self._end_line()
            print_status("note: the answer was cut off at the maximum length; see --max-tokens")

    def _show_whole(self, response: Response) -> None:
        if self._as_json:
            self._said = response.text
            write(_json(response) + "\n", sys.stdout)
        else:
            self._show(response.text)

    def _show(self, text: str) -> None:
        if text:
            self._said += text
            self._in_line = not text.endswith("\n")
            write(text, sys.stdout)

    def _end_line(self) -> None:
        if self._in_line:
            self._in_line = False
            write("\n", sys.stdout)


def _converse(conversation: _Conversation, args: argparse.Namespace) -> None:
    """Answer questions from the terminal until the user leaves."""
    editor = LineEditor()
    who = f"{args.model}, {CANNED}" if args.local else args.model
    write(f"{who}.\nCtrl-C stops an answer, {LEAVE} leaves.\n{SEVERAL_LINES}\n", sys.stderr)
    if not editor.keeps_pastes:
        write(f"{PASTED_LINES}\n", sys.stderr)
    while (question := editor.next_question()) is not None:
        if question:
            _reply(conversation, question)


def _reply(conversation: _Conversation, question: str) -> None:
    """Answer one question; most errors are printed and do not end the conversation.

    Raises:
        ConfigurationError: an option is invalid, which would fail every question.
        InvalidRequestError: an option is invalid, which would fail every question.
    """
    try:
        conversation.ask(question)
    except KeyboardInterrupt:
        return
    except (ConfigurationError, InvalidRequestError):
        raise
    except DashScopeError as error:
        print_error(error)


def _json(response: Response) -> str:
    """Return a response as JSON that stdout's encoding can represent."""
    text = str(response)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(response.to_dict())
    return text
