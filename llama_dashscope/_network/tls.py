"""TLS contexts and the socket options of TCP keep-alive."""

import os
import socket
import ssl
import sys
from functools import cache

import certifi

from llama_dashscope._errors import ConfigurationError
from llama_dashscope._late_imports import late_imports
from llama_dashscope._settings import Network

__all__ = ["keepalive_options", "needs_tls_in_tls", "tls_context"]


def tls_context(network: Network) -> ssl.SSLContext:
    """Return the TLS context; clients with the same settings share one.

    Raises:
        ConfigurationError: the certificates that the environment names can't be read.
    """
    if isinstance(network.verify, ssl.SSLContext):
        return network.verify
    with late_imports:  # OpenSSL holds locks that a forked process would wait for
        return _shared_context(network)


def _shared_context(network: Network) -> ssl.SSLContext:
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
    """Return a context for addresses without TLS; it loads no certificates, which is slow."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@cache
def _ssl_context(
    cafile: str | None = None, capath: str | None = None, *, verify: bool
) -> ssl.SSLContext:
    if cafile is None and capath is None:
        cafile = certifi.where()
    context = ssl.create_default_context(cafile=cafile, capath=capath)
    context.set_alpn_protocols(["http/1.1"])  # without it some gateways assume an old client
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def needs_tls_in_tls(network: Network) -> bool:
    """Tell whether asyncio would need TLS within TLS, which it supports from Python 3.11 on."""
    return sys.version_info < (3, 11) and network.proxy_scheme == "https"


def keepalive_options() -> list[tuple[int, int, int]]:
    """Return socket options by which a vanished peer is noticed within 30 seconds.

    The first probe is sent after 10 s without data, two more follow 5 s apart. Where the system has
    TCP_USER_TIMEOUT, the connection also ends if sent data is not acknowledged for 20 s.
    """
    wanted = {
        "TCP_KEEPIDLE": 10,
        "TCP_KEEPALIVE": 10,  # its name on macOS
        "TCP_KEEPINTVL": 5,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": 20_000,
    }
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in wanted.items():
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options
