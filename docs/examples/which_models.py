"""Ask every known model for one token to see which of them still answer."""

from llama_dashscope import MODELS, Client, DashScopeError, Message


def state(client: Client, model: str) -> str:
    """Say whether a model answers, or why not."""
    try:
        client.call(model, messages=[Message("user", "hi")], max_tokens=1)
    except DashScopeError as error:
        return f"{error.status_code} {error.code or error}"
    return "answers"


with Client(retry=1) as client:
    for name in MODELS:
        print(name, state(client, name))
