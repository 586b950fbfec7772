"""The async-first client for Llama text models on Alibaba Cloud's DashScope (Model Studio)."""

from ._catalog import MODELS, Model
from ._client.client import Client
from ._client.observer import (
    AttemptEnd,
    CallEnd,
    CallObserver,
    ObservedCall,
    Observer,
    add_observer,
    remove_observer,
)
from ._client.pace import Pace
from ._client.pacer import Outcome, Pacer, Permit
from ._client.retry import Retry
from ._client.streams import AsyncStream, Stream
from ._client.structured_call import Parsed
from ._errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    ConfigurationError,
    ContentFilterError,
    DashScopeError,
    IncompleteResponseError,
    InternalServerError,
    InvalidRequestError,
    NotFoundError,
    ParseError,
    PermissionDeniedError,
    QuotaExhaustedError,
    RateLimitError,
    RequestTooLargeError,
    ResponseError,
    ServiceUnavailableError,
    StreamUsageError,
)
from ._models import Choice, Chunk, Function, Message, Output, Response, ToolCall, Usage
from ._protocol.options import MessageLike, Options, StreamOptions, ToolLike
from ._protocol.tool_functions import read_arguments
from ._settings import Limits, Timeout
from ._version import __version__
from .batch.check import BatchCheck
from .batch.faces import AsyncBatch, Batch
from .batch.items import BatchInput
from .batch.journal import read_journal
from .batch.results import BatchResult
from .batch.summary import BatchSummary
from .compat._process_client import (
    api_key,
    api_key_file_path,
    base_http_api_url,
    close_shared_aio_session,
    close_shared_sync_session,
)
from .compat._regions import set_region
from .compat.generation import AioGeneration, Generation, InputRequired, ModelRequired

__all__ = [
    "MODELS",
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AioGeneration",
    "AsyncBatch",
    "AsyncStream",
    "AttemptEnd",
    "AuthenticationError",
    "BadRequestError",
    "Batch",
    "BatchCheck",
    "BatchInput",
    "BatchResult",
    "BatchSummary",
    "CallEnd",
    "CallObserver",
    "Choice",
    "Chunk",
    "Client",
    "ClientClosedError",
    "ConfigurationError",
    "ContentFilterError",
    "DashScopeError",
    "Function",
    "Generation",
    "IncompleteResponseError",
    "InputRequired",
    "InternalServerError",
    "InvalidRequestError",
    "Limits",
    "Message",
    "MessageLike",
    "Model",
    "ModelRequired",
    "NotFoundError",
    "ObservedCall",
    "Observer",
    "Options",
    "Outcome",
    "Output",
    "Pace",
    "Pacer",
    "ParseError",
    "Parsed",
    "PermissionDeniedError",
    "Permit",
    "QuotaExhaustedError",
    "RateLimitError",
    "RequestTooLargeError",
    "Response",
    "ResponseError",
    "Retry",
    "ServiceUnavailableError",
    "Stream",
    "StreamOptions",
    "StreamUsageError",
    "Timeout",
    "ToolCall",
    "ToolLike",
    "Usage",
    "__version__",
    "add_observer",
    "api_key",
    "api_key_file_path",
    "base_http_api_url",
    "close_shared_aio_session",
    "close_shared_sync_session",
    "read_arguments",
    "read_journal",
    "remove_observer",
    "set_region",
]

# So that tracebacks, reprs and pickles name a class by its public path.
for _name in __all__:
    if isinstance(_public := globals()[_name], type):
        _public.__module__ = __name__
