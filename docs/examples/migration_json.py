"""Three ways from a response to JSON or to a real dict."""

import json

from llama_dashscope import Generation

response = Generation.call(
    model="llama3.3-70b-instruct",
    messages=[{"role": "user", "content": "介绍一下自己"}],
    result_format="message",
)

text = json.dumps(response, default=dict, ensure_ascii=False)  # was: json.dumps(response)
changed = response.to_dict()  # a dict of dicts and lists, yours to change
changed["output"]["choices"][0]["message"]["content"] = "..."

assert text == str(response)
print(changed)
