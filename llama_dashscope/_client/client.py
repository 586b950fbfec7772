"""`Client`: for async and sync code, threads, tasks and event loops."""

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
from llama_dashscope._errors import ConfigurationError, DashScopeError, InvalidRequestError
from llama_dashscope._models import Chunk, Response
from llama_dashscope._protocol.arguments import (
    CallArguments,
    call_arguments,
    stream_arguments,
)
from llama_dashscope._protocol.options import Options, Self, StreamOptions, Unpack
from llama_dashscope._protocol.request import Payload, build_payload
from llama_dashscope._protocol.stream_parser import Item, MakeItems, chunks_of
from llama_dashscope._sanitize import bounded_repr, without_frames
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
    """A client's settings: plain values, so that a client can be copied and pickled."""

    api_key: ApiKey | None
    workspace: str | None
    timeout: Timeout
    retry: Retry
    pace: Pacer | None
    headers: dict[str, str] = attrs.field(repr=False)
    network: Network


class Client(BatchVerbs, ParsingVerbs):
    """A client for the Llama text models of DashScope, for async and sync code alike.

    One client can be used by many threads, tasks and event loops at once, and in forked processes.
    Making a client opens no socket and starts no thread. `acall` and `astream` run on asyncio and
    trio. `call` and `stream` run the same coroutines for sync code: in a worker thread of an anyio
    application in that application's event loop, elsewhere in a background thread.

    Args:
        api_key: the key; by default from DASHSCOPE_API_KEY, from the file that
            DASHSCOPE_API_KEY_FILE_PATH names, or from `~/.dashscope/api_key`. A client without a
            key can only make calls that are given one.
        base_url: the service's address up to and including `/api/v1`; by default from
            DASHSCOPE_HTTP_BASE_URL, else the China (Beijing) endpoint.
        workspace: id of the workspace that calls belong to; keys of sub-accounts need one.
        timeout: time limits, as a `Timeout`, or as seconds for connect, read and idle.
        retry: the number of retries (default 2, 0 for none), or a `Retry`.
        limits: bounds on connections and sizes.
        pace: the rate limit of requests: a `Pace`, which clients may share, or your own object with
            the method of `Pacer`; by default there is none.
        headers: HTTP headers for every call.
        transport: `auto` uses aiohttp on asyncio if it is installed, otherwise httpx; `httpx` and
            `aiohttp` force one of them; or an httpx transport of your own, which you close
            yourself.
        proxy: address of a proxy; by default from HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.
            By default no proxy is used for this machine's own addresses.
        verify: whether certificates are verified, or your own TLS context.
        trust_env: whether proxies and certificates are also read from the environment.

    Raises:
        ConfigurationError: an argument, or the environment variable used instead, is invalid.
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
        """Check the settings; no connection is opened before the first call."""
        refused: DashScopeError | None = None
        try:
            address = find_base_url(base_url, os.environ)
            network = Network(
                address,
                _proxy(proxy, address, trust_env=_check_trust_env(trust_env)),
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
        except DashScopeError as error:
            refused = without_frames(error)
        finally:
            del api_key, proxy, headers  # error reports show local variables
        if refused is not None:
            raise refused
        _warn_of_plain_http(self._settings.network)

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
            IncompleteResponseError: the service itself marks the answer as cut short.
            TypeError: there is no such keyword.
        """
        try:
            call = self._prepare(model, prompt, call_arguments(**options))
        finally:
            del options  # the key may be among them, and error reports show local variables
        return await self._engine.whole(call)

    @shows_keywords(StreamOptions)
    def astream(
        self, model: str, prompt: str | None = None, **options: Unpack[StreamOptions]
    ) -> AsyncStream[Chunk]:
        """Ask a model and read its answer as it is generated: use it with `async with`.

        Args:
            model: name of the model, sent as given; `llama_dashscope.MODELS` lists the known ones.
            prompt: the instruction, for models that take one; instead of `messages`.
            **options: the keywords of `StreamOptions`, each with its range and source there.

        Raises:
            InvalidRequestError: an argument was refused; nothing was sent.
            ConfigurationError: there is no key.
            TypeError: there is no such keyword.
        """
        try:
            call = self._prepare(model, prompt, stream_arguments(**options))
        finally:
            del options  # as in `acall`
        return AsyncStream(self._engine, call)

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
            IncompleteResponseError: the service itself marks the answer as cut short.
            TypeError: there is no such keyword.
        """
        try:
            call = self._prepare(model, prompt, call_arguments(**options))
        finally:
            del options  # as in `acall`
        return run_sync(partial(self._engine.whole, call))

    @shows_keywords(StreamOptions)
    def stream(
        self, model: str, prompt: str | None = None, **options: Unpack[StreamOptions]
    ) -> Stream[Chunk]:
        """Ask a model and read its answer as it is generated, in sync code: use it with `with`.

        Args:
            model: name of the model, sent as given; `llama_dashscope.MODELS` lists the known ones.
            prompt: the instruction, for models that take one; instead of `messages`.
            **options: the keywords of `StreamOptions`, each with its range and source there.

        Raises:
            InvalidRequestError: an argument was refused; nothing was sent.
            ConfigurationError: there is no key.
            TypeError: there is no such keyword.
        """
        try:
            call = self._prepare(model, prompt, stream_arguments(**options))
        finally:
            del options  # as in `acall`
        return Stream(AsyncStream(self._engine, call), run_sync)

    async def aclose(self) -> None:
        """Close all connections; requests in flight and later calls get `ClientClosedError`."""
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
        """Show the service's address and the workspace, but not the key."""
        if not hasattr(self, "_engine"):
            return "Client()"  # an error report shows one whose arguments were refused
        network, workspace = self._settings.network, self._settings.workspace
        shown = f"base_url={network.base_url!r}, workspace={workspace!r}"
        return f"Client({shown}{', closed' if self._engine.closed else ''})"

    def __getstate__(self) -> _Settings:
        """Return the settings, from which copies are made; connections are not copied."""
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
        """Combine a request body with the key, headers and time limits of a call."""
        settings = self._settings
        try:
            own = arguments.workspace
            # The argument is in no variable: error reports show these.
            key = settings.api_key if _unset(arguments.api_key) else ApiKey(arguments.api_key)
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
    # Answers are small; without compression both sides save work, and streams are not delayed.
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
    """Tell whether an argument is unset: None or empty. Zero is not: it is a mistake."""
    return value is None or value == ""


def _check_verify(given: object) -> bool | ssl.SSLContext:
    if isinstance(given, bool | ssl.SSLContext):
        return given
    msg = f"verify must be True, False or an ssl.SSLContext, got {type(given).__name__}"
    raise ConfigurationError(msg)


def _check_trust_env(given: object) -> bool:
    if isinstance(given, bool):
        return given
    raise ConfigurationError(f"trust_env must be True or False, got {bounded_repr(given)}")


def _proxy(given: str | None, base_url: str, *, trust_env: bool) -> str | None:
    if not _unset(given):
        return check_proxy(given, "proxy")
    return find_proxy(base_url, os.environ) if trust_env else None


def _warn_of_plain_http(network: Network) -> None:
    if network.base_url.startswith("http:") and not is_local(network.base_url):
        msg = f"base_url is plain http: the key is sent to {network.host} unencrypted"
        warnings.warn(msg, UserWarning, stacklevel=3)


def _check_pace(given: object) -> Pacer | None:
    if given is None or callable(getattr(given, "admit", None)):
        return cast("Pacer | None", given)
    msg = f"pace must be a Pace, or an object with a method admit, got {type(given).__name__}"
    raise ConfigurationError(msg)


def _check_transport(given: object) -> object:
    known = (
        given in TRANSPORTS if isinstance(given, str) else hasattr(given, "handle_async_request")
    )
    if not known:
        msg = f"transport must be one of {', '.join(TRANSPORTS)}, or an httpx transport"
        raise ConfigurationError(msg)
    return given
