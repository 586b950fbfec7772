"""Count the tokens of each model, with an observer of one's own."""

from collections import Counter

from llama_dashscope import CallEnd, CallObserver, Client, ObservedCall, add_observer

tokens: Counter[str] = Counter()


class TokensOfCall(CallObserver):
    """Hears how one call ends."""

    def __init__(self, model: str) -> None:
        """Remember whose tokens these are."""
        self._model = model

    def call_ended(self, end: CallEnd) -> None:
        """Count what was used, also where a stream was left early or broke."""
        if end.usage:
            tokens[self._model] += end.usage.total_tokens


class TokenCounter:
    """Hears of every call of this process."""

    def call_started(self, call: ObservedCall) -> CallObserver:
        """Return what is to be told of the call."""
        return TokensOfCall(call.model)


add_observer(TokenCounter())

with Client() as client:
    client.call("llama3.3-70b-instruct", "介绍一下自己")

print(dict(tokens))
