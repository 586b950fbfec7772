"""Redirect an import of the official SDK that you can't change to this package."""

from importlib import import_module

from llama_dashscope.compat import as_dashscope

as_dashscope(in_front=True)

dashscope = import_module("dashscope")  # as in a library: import dashscope

response = dashscope.Generation.call(
    model="llama3.3-70b-instruct",
    messages=[{"role": "user", "content": "介绍一下自己"}],
    result_format="message",
)
print(response.output.choices[0].message.content)
