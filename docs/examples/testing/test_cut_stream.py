"""A broken stream: the connection drops after three pieces, and the program keeps them."""

from llama_dashscope import Client, DashScopeError, Message
from llama_dashscope.testing import CutStream, LocalDashScope, Reply

MODEL = "llama3.3-70b-instruct"


def draft(question: str) -> str:
    """The code under test: half an answer is better than none."""
    with Client() as client:
        try:
            with client.stream(MODEL, messages=[Message("user", question)]) as stream:
                return "".join(chunk.delta for chunk in stream)
        except DashScopeError as error:
            return error.partial_text + " […]"


def test_half_an_answer(dashscope: LocalDashScope) -> None:
    """The text from before the break is shown and marked as incomplete."""
    dashscope.reply(Reply(pieces=["Once", " upon", " a", " time"]))
    dashscope.fault(CutStream(after=3, how="rst"))

    assert draft("Tell me a story.") == "Once upon a […]"
