"""Chromium without a window, told what to do through a pipe: its DevTools protocol, no packages.

A page that asks its server again and again never falls silent, so what is waited for is what
stands on it, not time.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
NO_BROWSER = "no Chromium here: apt-get install chromium"
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--disable-extensions", "--no-first-run", "--remote-debugging-pipe"),
)
READ = 1 << 16  # bytes at once
WAITS_S = 240.0  # a page takes a second on a machine with nothing else to do


@dataclass
class Page:
    """The one page of a browser.

    Attributes:
        commands: Where commands are written.
        answers: Where answers and events are read.
        errors: What scripts threw, and every message that pages logged as an error.
    """

    commands: int
    answers: int
    errors: list[str] = field(default_factory=list)
    _session: str = ""
    _sent: int = 0
    _unread: bytes = b""

    def open(self, url: str, width: int = 1400, height: int = 1000) -> None:
        """Go to `url`; CSS pixels."""
        if not self._session:
            target = self._ask("Target.createTarget", url="about:blank")["targetId"]
            attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
            self._session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                self._ask(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", **size)
        self._ask("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """What an expression of JavaScript comes to on the page."""
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        return answer["result"].get("value")

    def wait_for(self, script: str) -> None:
        """Wait until the expression is true."""
        ends = time.monotonic() + WAITS_S
        while not self.value(script):
            if time.monotonic() > ends:
                text = self.value("document.body.innerText")
                raise TimeoutError(f"never came true: {script}\n{self.errors}\n{text}")
            time.sleep(0.2)

    def text(self) -> str:
        """What is to be read on the page."""
        return str(self.value("document.body.innerText"))

    def picture(self) -> bytes:
        """The page as it looks, PNG."""
        return base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"])

    def _ask(self, method: str, **params: Any) -> Any:
        self._sent += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._sent, "method": method, "params": params, **session}
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._sent:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"]))
        if event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def _read(self) -> Any:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self.answers], [], [], WAITS_S)
            more = os.read(self.answers, READ) if ready else b""
            assert more, "the browser says nothing any more"
            self._unread += more
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)


@contextmanager
def browser() -> Iterator[Page]:
    """A browser of its own, gone afterwards."""
    assert BROWSER is not None
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        redirected = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        command = ["bash", "-c", redirected, BROWSER, *OPTIONS, f"--user-data-dir={profile}"]
        with subprocess.Popen(
            command, pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL
        ) as process:
            os.close(theirs_in)
            os.close(theirs_out)
            try:
                page = Page(ours_out, ours_in)
                yield page
                os.write(ours_out, b'{"id": 0, "method": "Browser.close"}\0')
                process.wait(30)
            finally:
                process.kill()
                os.close(ours_out)
                os.close(ours_in)
