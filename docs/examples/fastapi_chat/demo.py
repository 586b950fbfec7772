"""The model that isn't there: a DashScope on this machine, for those who have no key yet."""

import os
from collections.abc import Generator
from contextlib import contextmanager

from llama_dashscope import Client
from llama_dashscope.testing import LocalDashScope, ReceivedRequest

ANSWER = """\
You said: *{question}*

There is **no key** here, so this text comes from a server on your own machine. It streams like the
real one, and *Stop* stops it like the real one:

1. your browser hangs up,
2. the application cancels its call,
3. the service stops writing, and billing.

```python
async with client.astream(model, messages=messages) as stream:
    async for chunk in stream:
        print(chunk.delta, end="")
```

To ask a real Llama, set `DASHSCOPE_API_KEY` to a key of
[Model Studio](https://help.aliyun.com/zh/model-studio/get-api-key) and start again.
"""


def answer(request: ReceivedRequest) -> str:
    """Say what there is to say without a model."""
    return ANSWER.format(question=request.text.strip().replace("*", ""))


@contextmanager
def real_or_local() -> Generator[Client, None, None]:
    """Give a client of DashScope where there is a key, else of a server for the time being."""
    if os.environ.get("DASHSCOPE_API_KEY"):
        yield Client()
        return
    with LocalDashScope(tokens_per_second=25, first_token_delay=0.6) as server:
        server.reply(answer)
        yield Client(server.api_key, base_url=server.base_url)
