"""The happy path: the code under test asks, and the server gives the test's reply."""

from llama_dashscope import Client, Message
from llama_dashscope.testing import LocalDashScope

MODEL = "llama3.3-70b-instruct"


def summary(text: str) -> str:
    """The code under test. It knows nothing of the server."""
    with Client() as client:
        messages = [Message("system", "Summarise."), Message("user", text)]
        return client.call(MODEL, messages=messages, max_tokens=50).text


def test_summary(dashscope: LocalDashScope) -> None:
    """The reply comes back, and the request was the intended one."""
    dashscope.reply("It rains.")

    assert summary("It has been raining all day long.") == "It rains."

    (request,) = dashscope.requests
    assert request.text == "It has been raining all day long."
    assert request.parameters["max_tokens"] == 50
