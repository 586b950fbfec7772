"""Write a line of JSON for each attempt at a call."""

import json
import logging

from llama_dashscope import Client

FIELDS = ("attempt", "status", "request_id", "seconds", "tokens")


class JSONFormatter(logging.Formatter):
    """Formats a record as JSON, with the fields of an attempt."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        fields = {name: vars(record)[name] for name in FIELDS if name in vars(record)}
        return json.dumps({"message": record.getMessage(), **fields}, ensure_ascii=False)


handler = logging.StreamHandler()
handler.setFormatter(JSONFormatter())
logger = logging.getLogger("llama_dashscope")
logger.addHandler(handler)
logger.setLevel(logging.DEBUG)

with Client() as client:
    client.call("llama3.3-70b-instruct", "介绍一下自己")
