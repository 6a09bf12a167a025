"""Opening the page in a tab, over a reader of the test's own, and looking at what it shows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp.test_utils import TestServer

from streams.http.tokens import Access
from streams.web.server import create_web_app
from tests.browser.chromium import Browser, Tab
from tests.support.fake_reader import FakeReader

DRAWN = "document.querySelector('#box-response .value')"


@asynccontextmanager
async def page(
    browser: Browser,
    reader: FakeReader,
    query: str = "",
    *,
    access: Access | None = None,
    width: int = 1280,
    dark: bool = False,
    until: str = DRAWN,
) -> AsyncIterator[Tab]:
    """The page over `reader`, drawn; at the end nothing may have gone wrong in it, and nothing come from elsewhere."""
    async with TestServer(create_web_app(reader, access)) as server, browser.tab() as tab:
        await tab.open(f"{server.make_url('/')}{query}", width=width, dark=dark)
        await tab.until(until)
        yield tab
        # The browser draws its own controls with pictures it carries (data:).
        assert [url for url in tab.requested if not url.startswith((str(server.make_url("/")), "data:"))] == []
        # An answer below 200 or above 299 is told in the console by the browser itself.
        assert [text for text in tab.complaints if "the server responded with a status" not in text] == []


async def text_of(tab: Tab, selector: str) -> str:
    text: str = await tab.run(f"document.querySelector({selector!r}).innerText.replace(/\\s+/g, ' ').trim()")
    return text


async def click(tab: Tab, selector: str) -> None:
    await tab.run(f"document.querySelector({selector!r}).click()")
