"""The sample from the service's documentation of Llama, with one import changed."""

import os
from http import HTTPStatus

import llama_dashscope as dashscope


def call_with_messages() -> None:
    """Ask a question and print the response."""
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "介绍一下自己"},
    ]
    response = dashscope.Generation.call(
        api_key=os.getenv("DASHSCOPE_API_KEY"),
        model="llama3.3-70b-instruct",
        messages=messages,
        result_format="message",  # set the result to be "message" format.
    )
    if response.status_code == HTTPStatus.OK:
        print(response)
    else:
        print(
            f"Request id: {response.request_id}, Status code: {response.status_code}, "
            f"error code: {response.code}, error message: {response.message}"
        )


if __name__ == "__main__":
    call_with_messages()
