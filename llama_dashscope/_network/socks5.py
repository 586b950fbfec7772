"""SOCKS5 (RFC 1928, user names by RFC 1929): asks a proxy for a connection to a host."""

from ipaddress import ip_address
from typing import Final

import httpcore

__all__ = ["connect_socks5"]

VERSION: Final = 5
NO_LOGIN, BY_PASSWORD = 0, 2
SUCCEEDED: Final = 0
CONNECT: Final = 1
IPV4, NAME, IPV6 = 1, 3, 4
SIZES: Final = {IPV4: 4, IPV6: 16}

REFUSALS: Final = {
    1: "general failure of the SOCKS server",
    2: "not allowed by its rules",
    3: "the network can't be reached",
    4: "the host can't be reached",
    5: "the host refuses the connection",
    6: "the TTL expired",
    7: "the command is not supported",
    8: "the address type is not supported",
}


async def connect_socks5(
    stream: httpcore.AsyncNetworkStream,
    host: str,
    port: int,
    auth: tuple[bytes, bytes] | None = None,
) -> None:
    """Ask the proxy at the other end of a stream to connect to a host, whose name it looks up.

    Raises:
        httpcore.ProxyError: the proxy refuses, or is not a SOCKS5 proxy.
    """
    methods = bytes([NO_LOGIN] if auth is None else [NO_LOGIN, BY_PASSWORD])
    await stream.write(bytes([VERSION, len(methods)]) + methods)
    version, method = await _read(stream, 2)
    if version != VERSION:
        raise httpcore.ProxyError("it doesn't speak SOCKS5")
    if method not in methods:
        raise httpcore.ProxyError("it requires an authentication method that was not offered")
    if method == BY_PASSWORD and auth is not None:
        await _log_in(stream, *auth)
    await stream.write(bytes([VERSION, CONNECT, 0]) + _address(host) + port.to_bytes(2, "big"))
    _, reply, _, kind = await _read(stream, 4)
    if reply != SUCCEEDED:
        raise httpcore.ProxyError(REFUSALS.get(reply, f"reply code {reply}"))
    size = SIZES.get(kind) or (await _read(stream, 1))[0]
    await _read(stream, size + 2)  # the proxy's own address and port, which are not needed


async def _log_in(stream: httpcore.AsyncNetworkStream, user: bytes, password: bytes) -> None:
    if max(len(user), len(password)) > 255:  # noqa: PLR2004  # a length is one byte
        raise httpcore.ProxyError("SOCKS5 takes user names and passwords of up to 255 bytes")
    login = [bytes([len(part)]) + part for part in (user, password)]
    await stream.write(b"\1" + b"".join(login))
    _, status = await _read(stream, 2)
    if status != SUCCEEDED:
        raise httpcore.ProxyError("it rejects the user name or password")


def _address(host: str) -> bytes:
    try:
        address = ip_address(host)
    except ValueError:
        name = host.encode("idna")
        return bytes([NAME, len(name)]) + name
    return bytes([IPV4 if address.version == 4 else IPV6]) + address.packed  # noqa: PLR2004


async def _read(stream: httpcore.AsyncNetworkStream, size: int) -> bytes:
    """Read exactly `size` bytes; those after them may be the host's."""
    data = b""
    while len(data) < size:
        more = await stream.read(size - len(data))
        if not more:
            raise httpcore.ProxyError("it closed the connection")
        data += more
    return data
