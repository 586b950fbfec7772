"""For FastAPI: one client per application, streams to the browser, errors as HTTP responses.

::

    app = FastAPI(lifespan=lifespan, responses=PROBLEMS)
    add_exception_handlers(app)

    @app.post("/chat", response_class=EventStream)
    async def chat(client: ClientDep, question: Annotated[str, Body()]) -> EventStream:
        return EventStream(client.astream("llama3.3-70b-instruct", messages=...))
"""

from importlib import import_module

try:
    import_module("fastapi")
except ImportError as _missing:
    raise ImportError(
        "llama_dashscope.fastapi needs FastAPI: pip install 'llama-dashscope[fastapi]'"
    ) from _missing

from ._application import ClientDep, get_client, lifespan
from ._errors import PROBLEMS, Problem, add_exception_handlers
from ._responses import EventStream, JSONLines, TextStream

__all__ = [
    "PROBLEMS",
    "ClientDep",
    "EventStream",
    "JSONLines",
    "Problem",
    "TextStream",
    "add_exception_handlers",
    "get_client",
    "lifespan",
]
