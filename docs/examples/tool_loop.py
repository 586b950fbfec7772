"""Let a model call Python functions until it has its answer."""

from llama_dashscope import Client, Message, ParseError, Response, ToolCall, read_arguments


def weather(city: str, days: int = 1) -> str:
    """Forecast the weather.

    Args:
        city: name of the city, in Chinese.
        days: how many days from today, 1 to 7.
    """
    return f"{city}：{days}天小雨，22度"


def ask(client: Client, messages: list[Message]) -> Response:
    """Ask the model and offer it the tools."""
    return client.call("llama3.3-70b-instruct", messages=messages, tools=[*TOOLS.values()])


def use(call: ToolCall) -> str:
    """Call the function that the model asks for; if the call is invalid, return the error."""
    try:
        function = TOOLS[call.function.name]
        return function(**read_arguments(function, call))
    except (KeyError, ParseError) as error:
        return f"Error: {error}"


TOOLS = {"weather": weather}
messages = [Message("user", "罗马明天要带伞吗？")]
with Client() as client:
    while (reply := ask(client, messages)).tool_calls:
        messages.append(Message("assistant", reply.text, tool_calls=reply.tool_calls))
        messages += [Message("tool", use(call), tool_call_id=call.id) for call in reply.tool_calls]
print(reply.text)
