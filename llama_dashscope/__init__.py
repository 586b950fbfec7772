"""The async-first client for Llama text models on Alibaba Cloud's DashScope (Model Studio)."""

from ._arguments import MessageLike, Options, StreamOptions
from ._catalog import MODELS, Model
from ._client import Client
from ._config import Limits, Timeout
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
    PermissionDeniedError,
    QuotaExhaustedError,
    RateLimitError,
    RequestTooLargeError,
    ResponseError,
    ServiceUnavailableError,
)
from ._generation import AioGeneration, Generation, InputRequired, ModelRequired
from ._models import Choice, Chunk, Function, Message, Output, Response, ToolCall, Usage
from ._retry import Retry
from ._shared import api_key, api_key_file_path, base_http_api_url
from ._stream import AsyncStream, Stream
from ._version import __version__

__all__ = [
    "MODELS",
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AioGeneration",
    "AsyncStream",
    "AuthenticationError",
    "BadRequestError",
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
    "Options",
    "Output",
    "PermissionDeniedError",
    "QuotaExhaustedError",
    "RateLimitError",
    "RequestTooLargeError",
    "Response",
    "ResponseError",
    "Retry",
    "ServiceUnavailableError",
    "Stream",
    "StreamOptions",
    "Timeout",
    "ToolCall",
    "Usage",
    "__version__",
    "api_key",
    "api_key_file_path",
    "base_http_api_url",
]
