"""Tell failures apart."""

from llama_dashscope import (
    APIConnectionError,
    AuthenticationError,
    Client,
    ContentFilterError,
    DashScopeError,
    Message,
    RateLimitError,
)


def ask(client: Client, question: str) -> str:
    """Return an answer, or a message that tells the user why there is none."""
    try:
        return client.call("llama3.3-70b-instruct", messages=[Message("user", question)]).text
    except ContentFilterError:
        return "This question can't be answered."
    except RateLimitError as error:
        return f"Busy. Try again in {error.retry_after or 60:.0f} seconds."
    except APIConnectionError as error:  # timeouts included
        return f"No connection: {error}"
    except AuthenticationError as error:
        return f"The key was refused: {error.message} (request {error.request_id})"
    except DashScopeError as error:
        return f"Failed with {error.status_code} {error.code}: {error.message}"


with Client() as client:
    print(ask(client, "介绍一下自己"))
