"""The browser of the page's tests."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests import programs
from tests.browser.chromium import Browser, open_browser
from tests.support.fake_reader import FakeReader


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    programs.need("a font")
    async with open_browser(programs.need("Chromium")) as browser:
        yield browser


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader("acme")
