"""Count the tokens of each model with an observer."""

from collections import Counter

from llama_dashscope import CallEnd, CallObserver, Client, ObservedCall, add_observer

tokens: Counter[str] = Counter()


class TokensOfCall(CallObserver):
    """Receives the end of one call."""

    def __init__(self, model: str) -> None:
        """Remember the model."""
        self._model = model

    def call_ended(self, end: CallEnd) -> None:
        """Count the tokens used, also if a stream was closed early or broke."""
        if end.usage:
            tokens[self._model] += end.usage.total_tokens


class TokenCounter:
    """Is told of every call in this process."""

    def call_started(self, call: ObservedCall) -> CallObserver:
        """Return the observer of this call."""
        return TokensOfCall(call.model)


add_observer(TokenCounter())

with Client() as client:
    client.call("llama3.3-70b-instruct", "介绍一下自己")

print(dict(tokens))
