"""A FastAPI application: complete or streamed answers, and errors as HTTP responses."""

from fastapi import FastAPI

from llama_dashscope.fastapi import (
    PROBLEMS,
    ClientDep,
    EventStream,
    TextStream,
    add_exception_handlers,
    lifespan,
)

MODEL = "llama3.3-70b-instruct"

app = FastAPI(lifespan=lifespan, responses=PROBLEMS)
add_exception_handlers(app)


def asked(question: str) -> list[dict[str, str]]:
    """Wrap a question in a list of messages."""
    return [{"role": "user", "content": question}]


@app.get("/answer")
async def answer(client: ClientDep, question: str) -> str:
    """Answer in one piece."""
    return (await client.acall(MODEL, messages=asked(question))).text


@app.get("/answer-sync")
def answer_sync(client: ClientDep, question: str) -> str:
    """Answer from a sync handler, which runs in a thread and uses the same connections."""
    return client.call(MODEL, messages=asked(question)).text


@app.get("/events", response_class=EventStream)
async def events(client: ClientDep, question: str) -> EventStream:
    """Stream the answer to an EventSource."""
    return EventStream(client.astream(MODEL, messages=asked(question)))


@app.get("/tokens", response_class=TextStream)
async def tokens(client: ClientDep, question: str) -> TextStream:
    """Stream the answer as plain text."""
    return TextStream(client.astream(MODEL, messages=asked(question)))
