"""TLS contexts and the socket options of TCP keep-alive."""

import os
import socket
import ssl
import sys
from functools import cache

import certifi

from llama_dashscope._errors import ConfigurationError
from llama_dashscope._settings import Network

__all__ = ["keepalive_options", "needs_tls_in_tls", "tls_context"]


def tls_context(network: Network) -> ssl.SSLContext:
    """Return the TLS settings; one context serves all clients with the same settings."""
    if isinstance(network.verify, ssl.SSLContext):
        return network.verify
    if not network.uses_tls:
        return _no_tls()
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR") if network.trust_env else ()
    given = (os.environ.get(name) or None for name in names)
    try:
        return _ssl_context(*given, verify=network.verify)
    except OSError as error:
        msg = f"the certificates that {' or '.join(names)} names can't be read: {error}"
        raise ConfigurationError(msg) from error


@cache
def _no_tls() -> ssl.SSLContext:
    """Return a context for addresses without TLS: loading certificates takes a while."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@cache
def _ssl_context(
    cafile: str | None = None, capath: str | None = None, *, verify: bool
) -> ssl.SSLContext:
    if cafile is None and capath is None:
        cafile = certifi.where()
    context = ssl.create_default_context(cafile=cafile, capath=capath)
    context.set_alpn_protocols(["http/1.1"])  # some gateways take its absence for an old client
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def needs_tls_in_tls(network: Network) -> bool:
    """Tell whether asyncio would need TLS within TLS, which it has learnt with Python 3.11."""
    return sys.version_info < (3, 11) and network.proxy_scheme == "https"


def keepalive_options() -> list[tuple[int, int, int]]:
    """Return the socket options by which a peer that vanished is noticed within 30 seconds.

    The first probe goes out after 10 s of silence and two more follow 5 s apart; data that nobody
    acknowledges for 20 s counts as lost where the system can say so.
    """
    wanted = {
        "TCP_KEEPIDLE": 10,
        "TCP_KEEPALIVE": 10,  # the same, as macOS calls it
        "TCP_KEEPINTVL": 5,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": 20_000,
    }
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in wanted.items():
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options
