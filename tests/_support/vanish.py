"""A peer that vanishes silently; run it in a separate network namespace (`unshare -rn`).

    unshare -rn python vanish.py httpx stream

The service runs in a second namespace, at the other end of a virtual cable. Once the client waits,
the service's side drops everything that it would send: no FIN, no RST, no acknowledgement. Prints
how long the client took to notice, and the error. A third argument makes the probes faster.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import socket
import subprocess
import sys
import threading
import time
import warnings

CLIENT, SERVICE, PORT = "10.9.0.1", "10.9.0.2", 8000
FRAME = b'data:{"output":{"text":"a","finish_reason":"null"}}\n\n'
ASKED = threading.Event()
WHOLE = b'{"output":{"text":"abc","finish_reason":"stop"}}'


def ip(command: str) -> None:
    """Run `ip` of iproute2."""
    subprocess.run(["ip", *command.split()], check=True)


def answer(connection: socket.socket) -> None:
    """Begin a stream, answer a call, or stay silent, depending on the path of the URL."""
    request = connection.recv(65536)
    ASKED.set()
    if b"/stream/" in request:
        size = b"%x\r\n" % len(FRAME)
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        connection.sendall(size + FRAME + b"\r\n")
    elif b"/idle/" in request:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(WHOLE) + WHOLE)
    threading.Event().wait()


def serve() -> None:
    """Run the service: set up its end of the cable, serve, and vanish on command."""
    print("here", flush=True)
    sys.stdin.readline()
    ip(f"addr add {SERVICE}/24 dev there")
    ip("link set there up")
    listener = socket.create_server((SERVICE, PORT))
    print("listening", flush=True)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.readline()
    ASKED.wait()
    ip(f"route add blackhole {CLIENT}/32")
    print("gone", flush=True)
    sys.stdin.readline()


def probe_faster() -> None:
    """Set the sockets' keepalive options so that they notice within a few seconds."""
    options = [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 2000),
    ]
    for room in ("_network.dialer", "_network.aiohttp_transport"):
        module = importlib.import_module(f"llama_dashscope.{room}")
        vars(module)["keepalive_options"] = lambda: options


async def notice(transport: str, moment: str, service: subprocess.Popen[str]) -> dict[str, object]:
    """Wait like a client, make the service vanish, and return how that was noticed."""
    from llama_dashscope import Client, DashScopeError

    async def vanish() -> None:
        await asyncio.to_thread(tell, service, "gone")

    warnings.simplefilter("ignore")  # plain http: there is nobody else on this cable
    base_url = f"http://{SERVICE}:{PORT}/{moment}/"
    client = Client("sk-1", base_url=base_url, transport=transport, retry=0)
    model = "llama3.3-70b-instruct"
    waiting = asyncio.ensure_future(vanish()) if moment == "call" else None
    started = time.monotonic()
    try:
        if moment == "stream":
            async with client.astream(model, "hi") as stream:
                await anext(stream)
                await vanish()
                started = time.monotonic()
                await anext(stream)
        elif moment == "idle":
            await client.acall(model, "hi")
            await vanish()
            started = time.monotonic()
        await client.acall(model, "hi")
    except DashScopeError as error:
        spent = time.monotonic() - started
        return {"error": type(error).__name__, "says": str(error), "seconds": spent}
    finally:
        await asyncio.gather(*filter(None, [waiting]))
    return {}


def tell(service: subprocess.Popen[str], expected: str) -> None:
    """Make the service take its next step."""
    assert service.stdin is not None
    assert service.stdout is not None
    service.stdin.write("\n")
    service.stdin.flush()
    assert service.stdout.readline().strip() == expected


def main() -> None:
    """Set up the cable, wait, and print the outcome."""
    transport, moment, *faster = sys.argv[1:]
    if faster:
        probe_faster()
    with subprocess.Popen(
        ["unshare", "-n", sys.executable, __file__, "serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as service:
        assert service.stdout is not None
        service.stdout.readline()
        ip("link add here type veth peer name there")
        ip(f"link set there netns {service.pid}")
        ip(f"addr add {CLIENT}/24 dev here")
        ip("link set here up")
        tell(service, "listening")
        print(json.dumps(asyncio.run(notice(transport, moment, service))))
        service.kill()


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main()
