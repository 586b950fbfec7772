"""A browser for tests: headless Chromium, controlled over a pipe.

The protocol is https://chromedevtools.github.io/devtools-protocol/; messages end with a NUL.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
    "--window-size=900,760",
]
# The browser expects its pipes as file descriptors 3 and 4.
START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, "")}


class Page:
    """A page in a browser; each method waits until its command has been executed."""

    def __init__(self, into: int, out: int) -> None:
        """Open an empty page in the browser at the other ends of two pipes."""
        self._into = into
        self._out = out
        self._rest = b""
        self._count = 0
        self._session: str | None = None
        self._target = ""
        self.renew()

    def renew(self) -> None:
        """Replace the page by a new, empty one."""
        self._session, last = None, self._target
        self._target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        attached = self.tell("Target.attachToTarget", targetId=self._target, flatten=True)
        self._session = attached["sessionId"]
        if last:
            self.tell("Target.closeTarget", targetId=last)

    def tell(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._into, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._count:
            pass
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._out, 1 << 16)
            assert more, "the browser is gone"
            self._rest += more
        frame, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(frame)
        return message

    def open(self, address: str) -> None:
        """Open an address and wait until it is loaded."""
        self.tell("Page.navigate", url=address)
        self.until(f"location.href.startsWith({address!r}) && document.readyState === 'complete'")

    def look(self, expression: str) -> Any:  # any JSON value
        """Return the value of a JavaScript expression in the page."""
        found = self.tell(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until a condition holds in the page, at most 20 seconds."""
        program = """new Promise((held, failed) => {
            const end = Date.now() + 20000;
            const look = () => (CONDITION) ? held(true)
                : Date.now() > end ? failed(new Error(document.body.innerText))
                : setTimeout(look, 5);
            look();
        })"""
        assert self.look(program.replace("CONDITION", condition)) is True

    def write(self, text: str) -> None:
        """Type a text at the cursor."""
        self.tell("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press and release a key."""
        code, text = KEYS[key]
        what = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.tell("Input.dispatchKeyEvent", type="keyDown", text=text, **what)
        self.tell("Input.dispatchKeyEvent", type="keyUp", **what)

    def click(self, selector: str) -> None:
        """Click on the middle of an element."""
        box = self.look(
            f"(({selector!r}, document.querySelector({selector!r})))"
            ".getBoundingClientRect().toJSON()"
        )
        where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        for kind in ("mousePressed", "mouseReleased"):
            self.tell("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **where)

    def picture(self, path: Path) -> None:
        """Save a screenshot."""
        path.write_bytes(base64.b64decode(self.tell("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        """Close the browser."""
        self._session = None
        self.tell("Browser.close")


@contextmanager
def chromium(profile: Path) -> Generator[Page]:
    """Run a browser with a new, empty profile."""
    assert PROGRAM is not None
    theirs_in, ours_in = os.pipe()
    ours_out, theirs_out = os.pipe()
    command = [PROGRAM, *OPTIONS, f"--user-data-dir={profile}"]
    with subprocess.Popen(
        [sys.executable, "-c", START, str(theirs_in), str(theirs_out), *command],
        pass_fds=(theirs_in, theirs_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            page = Page(ours_in, ours_out)
            yield page
            page.close()
        finally:
            os.close(ours_in)
            os.close(ours_out)
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()
