"""A headless Chromium driven over its DevTools protocol, with nothing but aiohttp: just what the page's tests need."""

import asyncio
import base64
import itertools
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

START_SECONDS = 60
WAIT_SECONDS = 20

KEYS: dict[str, dict[str, Any]] = {
    "Tab": {"windowsVirtualKeyCode": 9},
    "Enter": {"windowsVirtualKeyCode": 13, "text": "\r"},
    " ": {"windowsVirtualKeyCode": 32, "text": " ", "code": "Space"},
    "Escape": {"windowsVirtualKeyCode": 27},
}
"""Keys that do something only with more than their name."""


class Tab:
    """One page. What goes wrong in it (exceptions, refused loads, console errors) gathers in `complaints`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self.transferred_bytes = 0.0
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read())

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the protocol and return its result."""
        number = next(self._numbers)
        answered = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        answer = await asyncio.wait_for(answered, WAIT_SECONDS)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def open(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a page in a window of that size."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")
        await self.look(width=width, height=height, dark=dark)
        await self.call("Page.navigate", url=url)

    async def look(self, *, width: int, height: int = 900, dark: bool = False, media: str = "screen") -> None:
        """Change the window's size, the scheme of colours, and whether it is a screen."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression, promises awaited."""
        answer = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true. Raises `TimeoutError` with what the page shows instead."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                # A page under way to another address answers with an error now and then.
                while not await self._true(condition):  # noqa: ASYNC110  # there is no event to wait for
                    await asyncio.sleep(0.05)
        except TimeoutError:
            text = await self.run("document.body.innerText")
            raise TimeoutError(
                f"{condition} never came true; {self.complaints}; the page shows: {text[:800]}"
            ) from None

    async def press(self, key: str) -> None:
        """Press and release a key by its DOM name, such as ArrowRight."""
        about = {"key": key, "code": key, **KEYS.get(key, {})}
        for kind in ("keyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, **about)

    async def screenshot(self) -> bytes:
        """The whole page as a PNG."""
        size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        picture = await self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(picture["data"])

    async def _true(self, condition: str) -> bool:
        try:
            return bool(await self.run(f"Boolean({condition})"))
        except RuntimeError:
            return False

    async def _read(self) -> None:
        async for message in self._socket:
            content = json.loads(message.data)
            if "id" in content:
                self._answers.pop(content["id"]).set_result(content)
            else:
                self._note(content["method"], content["params"])

    def _note(self, method: str, parameters: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"])[:1000])
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(parameters["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requested.append(parameters["request"]["url"])
        elif method == "Network.loadingFinished":
            self.transferred_bytes += parameters["encodedDataLength"]


@asynccontextmanager
async def open_browser(executable: str) -> AsyncIterator["Browser"]:
    """Start a browser with a profile of its own, and end it."""
    with tempfile.TemporaryDirectory(prefix="mediana-chromium-", ignore_cleanup_errors=True) as profile:
        # Without its sandbox, which root and most containers cannot have: the only pages it opens are our own.
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        process = await asyncio.create_subprocess_exec(
            *(executable, *options, *quiet, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            port = await _port(Path(profile) / "DevToolsActivePort", process)
            async with aiohttp.ClientSession() as session:
                yield Browser(session, f"http://127.0.0.1:{port}")
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


class Browser:
    """A running browser."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self._session = session
        self._address = address

    @asynccontextmanager
    async def tab(self) -> AsyncIterator[Tab]:
        """A new tab, closed at the end. Session storage is the tab's own."""
        async with self._session.put(f"{self._address}/json/new?about:blank") as response:
            target = await response.json()
        async with self._session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            yield Tab(socket)
            await self._session.get(f"{self._address}/json/close/{target['id']}")


async def _port(file: Path, process: asyncio.subprocess.Process) -> int:
    """The port the browser chose, which it writes to a file of its profile."""
    async with asyncio.timeout(START_SECONDS):
        while not (file.exists() and file.read_text().strip()):  # noqa: ASYNC240  # a file of one line
            if process.returncode is not None:
                raise RuntimeError(f"the browser ended at once with status {process.returncode}")
            await asyncio.sleep(0.05)
    return int(file.read_text().split()[0])  # noqa: ASYNC240
