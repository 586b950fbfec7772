"""Ask one question from sync code."""

from llama_dashscope import Client, Message

with Client() as client:
    reply = client.call("llama3.3-70b-instruct", messages=[Message("user", "介绍一下自己")])

print(reply.text)
print(reply)  # the complete response as JSON, in the official SDK's format
