"""Show an answer while it is being written, from sync code."""

from llama_dashscope import Client, Message

with Client() as client:
    with client.stream(
        "llama3.3-70b-instruct", messages=[Message("user", "介绍一下自己")]
    ) as stream:
        for chunk in stream:
            print(chunk.delta, end="", flush=True)
    print()
    print(stream.response.finish_reason, stream.response.usage)
