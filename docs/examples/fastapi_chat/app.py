"""A chat in the browser: `pip install uvicorn`, then `uvicorn app:app` in this folder.

It asks DashScope with the key in DASHSCOPE_API_KEY, or a local server if there is no key.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal

from demo import real_or_local
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

from llama_dashscope.fastapi import (
    PROBLEMS,
    ClientDep,
    EventStream,
    add_exception_handlers,
    lifespan,
)

MODEL = "llama3.3-70b-instruct"
SYSTEM = {"role": "system", "content": "You are a helpful assistant. You write Markdown."}


class Turn(BaseModel):
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    content: Annotated[str, Field(min_length=1, max_length=20_000)]


@asynccontextmanager
async def opened(app: FastAPI) -> AsyncGenerator[None, None]:
    """Open the client with the application."""
    with real_or_local() as client:
        async with lifespan(app, client):
            yield


app = FastAPI(lifespan=opened)
add_exception_handlers(app)


@app.post("/chat", response_class=EventStream, responses=PROBLEMS)
async def chat(client: ClientDep, turns: Annotated[list[Turn], Field(min_length=1)]) -> EventStream:
    """Answer a conversation, token by token."""
    messages = [SYSTEM, *(turn.model_dump() for turn in turns)]
    return EventStream(client.astream(MODEL, messages=messages))


app.mount("/", StaticFiles(directory=Path(__file__).with_name("page"), html=True))
