"""Sort letters by kind; those that the model can't sort go to a person."""

from enum import Enum

from llama_dashscope import Client, Message, ParseError


class Kind(Enum):
    """What a letter is about."""

    ORDER = "order"
    COMPLAINT = "complaint"
    OTHER = "other"


def sort(client: Client, letter: str) -> Kind | None:
    """Return the kind of a letter, or None if a person has to look at it."""
    try:
        return client.parse(
            "llama3.3-70b-instruct",
            Kind,
            messages=[Message("system", "Which kind is the letter?"), Message("user", letter)],
            temperature=0,
            max_tokens=20,
        ).value
    except ParseError as error:
        print(f"{error.message}; it said {error.partial_text!r}, wrong at {error.paths}")
        return None


with Client() as client:
    print(sort(client, "我上周订的书还没有到。"))
