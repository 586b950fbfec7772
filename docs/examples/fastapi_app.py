"""A FastAPI application with one client: an answer at once, or as it is written."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from llama_dashscope import Client, Message

MODEL = "llama3.3-70b-instruct"
client = Client()  # opens no connection until it is used


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
    """Close the client's connections when the application stops."""
    async with client:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/answer")
async def answer(question: str) -> str:
    """Answer in one piece."""
    reply = await client.acall(MODEL, messages=[Message("user", question)])
    return reply.text


@app.get("/answer-sync")
def answer_sync(question: str) -> str:
    """Answer from a plain function: it runs in a thread and shares the application's client."""
    return client.call(MODEL, messages=[Message("user", question)]).text


@app.get("/tokens")
async def tokens(question: str) -> StreamingResponse:
    """Answer piece by piece."""

    async def pieces() -> AsyncIterator[str]:
        async with client.astream(MODEL, messages=[Message("user", question)]) as stream:
            async for chunk in stream:
                yield chunk.delta

    return StreamingResponse(pieces(), media_type="text/plain; charset=utf-8")
