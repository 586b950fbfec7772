"""The happy path: the code under test asks, the server replies what the test says."""

from llama_dashscope import Client, Message
from llama_dashscope.testing import LocalDashScope

MODEL = "llama3.3-70b-instruct"


def summary(text: str) -> str:
    """Stand for the code under test. It knows nothing of the server."""
    with Client() as client:
        messages = [Message("system", "Summarise."), Message("user", text)]
        return client.call(MODEL, messages=messages, max_tokens=50).text


def test_summary(dashscope: LocalDashScope) -> None:
    """The answer comes back, and the request was the one that was meant."""
    dashscope.reply("It rains.")

    assert summary("It has been raining all day long.") == "It rains."

    (request,) = dashscope.requests
    assert request.text == "It has been raining all day long."
    assert request.parameters["max_tokens"] == 50
