"""A real headless Chromium, driven over its DevTools pipe: no driver program, no port, no other library."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_LONGEST = 60.0  # seconds for an answer, on a machine that does much else


def find_browser() -> str | None:
    """The first Chromium on the path."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A browser with one page, which keeps a list of what it asked of the network and what went wrong in it."""

    def __init__(self, program: str, profile: Path) -> None:
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        switches = (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
            "--disable-background-networking",
            f"--user-data-dir={profile}",
            "--remote-debugging-pipe",
            "about:blank",
        )
        # Chromium reads commands from descriptor 3 and answers on 4; the shell puts them there.
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{to_browser} 4>&{from_browser}', "browser", program, *switches],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._ids = itertools.count(1)
        self._buffer = b""
        self._session = ""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._loaded = False
        target = next(t for t in self._call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def open(self, url: str, *, width: int = 1280, height: int = 900) -> None:
        """Go to a page and wait until it is loaded; what was asked of the network before is forgotten."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self._call("Page.navigate", url="about:blank")  # else a page that differs in its hash alone would not be loaded
        self.settle()
        self.requests.clear()
        self.complaints.clear()
        self._loaded = False
        self._call("Page.navigate", url=url)
        end = monotonic() + _LONGEST
        while not self._loaded and monotonic() < end:
            self._take(end)
        self.settle()

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page, promises awaited."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']['exception'].get('description')}")
        return answer["result"].get("value")

    def settle(self) -> None:
        """Wait for two frames: what was asked for is drawn."""
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))")

    def press(self, key: str) -> None:
        """A key, as a person presses it."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        codes = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Escape": 27, "Enter": 13, "Tab": 9}
        code = codes.get(key, ord(key.upper()) if len(key) == 1 else 0)
        event = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code}
        self._call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **event, **text)
        self._call("Input.dispatchKeyEvent", type="keyUp", **event)
        self.settle()

    def click(self, selector: str) -> None:
        """The first element that fits, clicked in its middle with a mouse."""
        box = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)
        self.settle()

    def type(self, selector: str, text: str) -> None:
        """Text into a field."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        self._call("Input.insertText", text=text)
        self.settle()

    def choose(self, name: str, value: str) -> None:
        """An option of a select of the page's form, with the event that a person's choice fires."""
        self.evaluate(
            f"(() => {{ const s = document.querySelector('select[name={name}]'); s.value = {json.dumps(value)};"
            "s.dispatchEvent(new Event('input', {bubbles: true})); return s.value; })()"
        )
        self.settle()

    def emulate(self, *, media: str = "", scheme: str = "light") -> None:
        """Paper or screen, light or dark."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", media=media, features=features)

    def pdf(self) -> bytes:
        """The page as it is printed."""
        return base64.b64decode(self._call("Page.printToPDF", printBackground=True)["data"])

    def screenshot(self, path: Path) -> None:
        """What is seen, as PNG."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = monotonic() + _LONGEST
        while True:
            answer = self._take(end)
            if answer.get("id") == number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]

    def _take(self, end: float) -> dict[str, Any]:
        """The next message; events are noted on the way."""
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - monotonic()))
            if not ready:
                raise AssertionError("the browser gives no answer")
            read = os.read(self._in, 1 << 20)
            if not read:
                raise AssertionError("the browser has ended")
            self._buffer += read
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        params = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Page.loadEventFired":
                self._loaded = True
            case "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.complaints.append(str(params["args"]))
            case "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
        return message

    def close(self) -> None:
        """End the browser."""
        self._session = ""
        with suppress(AssertionError, OSError):  # it may be gone before it answers
            self._call("Browser.close")
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
