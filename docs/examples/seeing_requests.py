"""See what is sent: a log line for each attempt, and a local server that shows the request."""

import logging

from llama_dashscope import Client, Message
from llama_dashscope.testing import LocalDashScope

logging.basicConfig()
logging.getLogger("llama_dashscope").setLevel(logging.DEBUG)

with LocalDashScope() as server, Client(server.api_key, base_url=server.base_url) as client:
    client.call("llama3.3-70b-instruct", messages=[Message("user", "你好")], temperature=0.5)

    request = server.requests[0]
    print(request.method, request.path)
    print(request.json)
