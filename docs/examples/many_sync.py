"""Ask many questions concurrently from sync code, each with its own id and options."""

from llama_dashscope import BatchInput, Client

ITEMS: list[BatchInput] = [
    {"custom_id": "rain", "prompt": "One word for rain?", "max_tokens": 20},
    {"custom_id": "snow", "messages": [{"role": "user", "content": "One word for snow?"}]},
]

with Client() as client, client.batch(ITEMS, model="llama3.3-70b-instruct", ordered=True) as batch:
    for result in batch:
        print(result.custom_id, result.error or result.text)
