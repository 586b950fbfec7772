"""`Client`: one object for async and sync code, threads, tasks and event loops."""

import os
import ssl
import warnings
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, cast

import attrs

from llama_dashscope._environment import (
    check_header,
    check_proxy,
    check_workspace,
    find_api_key,
    find_base_url,
    find_proxy,
    is_local,
    no_key,
)
from llama_dashscope._errors import ConfigurationError, InvalidRequestError
from llama_dashscope._models import Chunk, Response
from llama_dashscope._protocol.arguments import (
    CallArguments,
    call_arguments,
    stream_arguments,
)
from llama_dashscope._protocol.options import Options, Self, StreamOptions, Unpack
from llama_dashscope._protocol.request import Payload, build_payload
from llama_dashscope._protocol.stream_parser import Item, MakeItems, chunks_of
from llama_dashscope._settings import ApiKey, Limits, Network, Timeout
from llama_dashscope._version import __version__

from .batching import BatchVerbs
from .call import Call
from .call_runner import CallRunner
from .keyword_help import shows_keywords
from .pacer import Pacer
from .parsing import ParsingVerbs
from .retry import Retry
from .streams import AsyncStream, Stream
from .sync_bridge import run_sync

if TYPE_CHECKING:
    from llama_dashscope._network.user_transport import AsyncBaseTransport

__all__ = ["Client"]

TRANSPORTS: Final = ("auto", "httpx", "aiohttp")


@attrs.frozen
class _Settings:
    """What a client was made of: plain values, so that a client can be copied and pickled."""

    api_key: ApiKey | None
    workspace: str | None
    timeout: Timeout
    retry: Retry
    pace: Pacer | None
    headers: dict[str, str] = attrs.field(repr=False)
    network: Network


class Client(BatchVerbs, ParsingVerbs):
    """A client for the Llama text models of DashScope, for async and sync code alike.

    One client serves threads, tasks and event loops at once, and forked processes. Making one opens
    no socket and starts no thread. `acall` and `astream` run on asyncio and trio; `call` and
    `stream` are the same coroutines behind a bridge: in a worker thread of an anyio application
    they run in that application's event loop, elsewhere in a background thread.

    Args:
        api_key: the key; by default from DASHSCOPE_API_KEY, from the file that
            DASHSCOPE_API_KEY_FILE_PATH names, or from `~/.dashscope/api_key`. A client without a
            key can make calls that bring their own.
        base_url: the service's address up to and including `/api/v1`; by default from
            DASHSCOPE_HTTP_BASE_URL, else the China (Beijing) endpoint.
        workspace: id of the workspace that calls belong to; keys of sub-accounts need one.
        timeout: time limits, as a `Timeout`, or as seconds for connect, read and idle.
        retry: how many times to try again (2; 0 for never), or a `Retry`.
        limits: bounds on connections and sizes.
        pace: how fast requests go, as a `Pace`, which clients may share, or an object of your own
            with its method (`Pacer`); by default as fast as they are made.
        headers: HTTP headers for every call.
        transport: `auto` takes aiohttp on asyncio where it is installed and httpx elsewhere;
            `httpx` and `aiohttp` insist; or a transport of httpx's kind, which stays yours to
            close.
        proxy: address of a proxy; by default HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY
            decide, except for this machine's own addresses, which need none.
        verify: whether certificates are verified, or a TLS context of your own.
        trust_env: whether the environment has a say in proxies and certificates.

    Raises:
        ConfigurationError: an argument, or what the environment says instead of it, can't be right.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        workspace: str | None = None,
        timeout: Timeout | float | None = None,
        retry: Retry | int | None = None,
        limits: Limits | None = None,
        pace: Pacer | None = None,
        headers: Mapping[str, str] | None = None,
        transport: "str | AsyncBaseTransport" = "auto",
        proxy: str | None = None,
        verify: bool | ssl.SSLContext = True,
        trust_env: bool = True,
    ) -> None:
        """Gather the settings; nothing is opened before the first call."""
        address = find_base_url(base_url, os.environ)
        network = Network(
            address,
            _proxy(proxy, address, trust_env=trust_env),
            _check_verify(verify),
            trust_env,
            Limits.of(limits),
            _check_transport(transport),
        )
        self._start(
            _Settings(
                find_api_key(api_key, os.environ),
                None if _unset(workspace) else check_workspace(workspace),
                Timeout.of(timeout),
                Retry.of(retry),
                _check_pace(pace),
                {**_OURS, **_headers(headers)},
                network,
            )
        )
        if address.startswith("http:") and not is_local(address):
            msg = f"base_url is plain http: the key travels to {network.host} for all to read"
            warnings.warn(msg, UserWarning, stacklevel=2)

    def _start(self, settings: _Settings) -> None:
        self._settings = settings
        self._engine = CallRunner(settings.network, settings.retry, settings.pace)

    @shows_keywords(Options)
    async def acall(
        self, model: str, prompt: str | None = None, **options: Unpack[Options]
    ) -> Response:
        """Ask a model and wait for the whole answer.

        Args:
            model: name of the model, sent as given; `llama_dashscope.MODELS` lists the known ones.
            prompt: the instruction, for models that take one; instead of `messages`.
            **options: the keywords of `Options`, each with its range and source there.

        Raises:
            InvalidRequestError: an argument was refused; nothing was sent.
            ConfigurationError: there is no key.
            APIStatusError: the service answered with an error.
            APIConnectionError: there was no answer, or not in time.
            ResponseError: the answer does not follow the protocol.
            IncompleteResponseError: the service says that the answer is cut short.
            TypeError: there is no such keyword.
        """
        call = self._prepare(model, prompt, call_arguments(**options))
        return await self._engine.whole(call)

    @shows_keywords(StreamOptions)
    def astream(
        self, model: str, prompt: str | None = None, **options: Unpack[StreamOptions]
    ) -> AsyncStream[Chunk]:
        """Ask a model and read its answer as it is written: `async with` what this returns.

        Args:
            model: name of the model, sent as given; `llama_dashscope.MODELS` lists the known ones.
            prompt: the instruction, for models that take one; instead of `messages`.
            **options: the keywords of `StreamOptions`, each with its range and source there.

        Raises:
            InvalidRequestError: an argument was refused; nothing was sent.
            ConfigurationError: there is no key.
            TypeError: there is no such keyword.
        """
        return AsyncStream(self._engine, self._prepare(model, prompt, stream_arguments(**options)))

    @shows_keywords(Options)
    def call(self, model: str, prompt: str | None = None, **options: Unpack[Options]) -> Response:
        """Ask a model and wait for the whole answer, in sync code.

        Args:
            model: name of the model, sent as given; `llama_dashscope.MODELS` lists the known ones.
            prompt: the instruction, for models that take one; instead of `messages`.
            **options: the keywords of `Options`, each with its range and source there.

        Raises:
            InvalidRequestError: an argument was refused; nothing was sent.
            ConfigurationError: there is no key.
            APIStatusError: the service answered with an error.
            APIConnectionError: there was no answer, or not in time.
            ResponseError: the answer does not follow the protocol.
            IncompleteResponseError: the service says that the answer is cut short.
            TypeError: there is no such keyword.
        """
        call = self._prepare(model, prompt, call_arguments(**options))
        return run_sync(partial(self._engine.whole, call))

    @shows_keywords(StreamOptions)
    def stream(
        self, model: str, prompt: str | None = None, **options: Unpack[StreamOptions]
    ) -> Stream[Chunk]:
        """Ask a model and read its answer as it is written, in sync code: `with` what this returns.

        Args:
            model: name of the model, sent as given; `llama_dashscope.MODELS` lists the known ones.
            prompt: the instruction, for models that take one; instead of `messages`.
            **options: the keywords of `StreamOptions`, each with its range and source there.

        Raises:
            InvalidRequestError: an argument was refused; nothing was sent.
            ConfigurationError: there is no key.
            TypeError: there is no such keyword.
        """
        call = self._prepare(model, prompt, stream_arguments(**options))
        return Stream(AsyncStream(self._engine, call), run_sync)

    async def aclose(self) -> None:
        """Close all connections; calls under way end with `ClientClosedError`, as later ones do."""
        await self._engine.aclose()

    def close(self) -> None:
        """Close all connections, in sync code; see `aclose`."""
        self._engine.close_from_sync()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client."""
        await self.aclose()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client."""
        self.close()

    def __repr__(self) -> str:
        """Show where calls go, and not the key."""
        network, workspace = self._settings.network, self._settings.workspace
        shown = f"base_url={network.base_url!r}, workspace={workspace!r}"
        return f"Client({shown}{', closed' if self._engine.closed else ''})"

    def __getstate__(self) -> _Settings:
        """Return what a copy is made from: the settings, without connections."""
        return self._settings

    def __setstate__(self, settings: _Settings) -> None:
        """Start like a new client with these settings."""
        self._start(settings)

    def _prepare(self, model: str, prompt: str | None, arguments: CallArguments) -> Call[Chunk]:
        """Turn arguments into a call that is ready to be sent."""
        return self._ready(build_payload(model, prompt, arguments), arguments, chunks_of)

    def _ready(
        self, payload: Payload, arguments: CallArguments, make_items: MakeItems[Item]
    ) -> Call[Item]:
        """Put the key, headers and limits of a call to its request body."""
        settings = self._settings
        try:
            given, own = arguments.api_key, arguments.workspace
            key = settings.api_key if _unset(given) else ApiKey(given)
            workspace = settings.workspace if _unset(own) else check_workspace(own)
            timeout = Timeout.of(arguments.timeout, settings.timeout)
            headers = {**settings.headers, **_headers(arguments.headers)}
        except ConfigurationError as error:
            raise InvalidRequestError(error.message) from None
        if key is None:
            raise no_key()
        address = settings.network.base_url
        return Call(address, payload, key, workspace, timeout, headers, make_items)


_OURS: Final = {
    "user-agent": f"llama-dashscope/{__version__}",
    # Answers are small; asking for none saves both sides the work, and streams the delay.
    "accept-encoding": "identity",
}


def _headers(given: object) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        msg = f"headers must be a dict, got {type(given).__name__}"
        raise ConfigurationError(msg)
    pairs = cast("Mapping[object, object]", given).items()
    return dict(check_header(name, value) for name, value in pairs)


def _unset(value: object) -> bool:
    """Tell whether an argument says nothing: empty counts as unset, zero as a mistake."""
    return value is None or value == ""


def _check_verify(given: object) -> bool | ssl.SSLContext:
    if isinstance(given, bool | ssl.SSLContext):
        return given
    msg = f"verify must be True, False or an ssl.SSLContext, got {type(given).__name__}"
    raise ConfigurationError(msg)


def _proxy(given: str | None, base_url: str, *, trust_env: bool) -> str | None:
    if not _unset(given):
        return check_proxy(given, "proxy")
    return find_proxy(base_url, os.environ) if trust_env else None


def _check_pace(given: object) -> Pacer | None:
    if given is None or callable(getattr(given, "admit", None)):
        return cast("Pacer | None", given)
    msg = f"pace must be a Pace, or an object with its method admit, got {type(given).__name__}"
    raise ConfigurationError(msg)


def _check_transport(given: object) -> object:
    known = (
        given in TRANSPORTS if isinstance(given, str) else hasattr(given, "handle_async_request")
    )
    if not known:
        msg = f"transport must be one of {', '.join(TRANSPORTS)} or a transport of httpx's kind"
        raise ConfigurationError(msg)
    return given
