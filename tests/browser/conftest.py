"""The browser of the page's tests: the one MEDIANA_CHROMIUM names, else the first on the PATH (`apt install chromium`).

Where there is none the tests are skipped, except where one is expected: with CI or MEDIANA_CHROMIUM set they fail.
"""

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.browser.chromium import Browser, find_browser, open_browser
from tests.support.fake_reader import FakeReader


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    executable = find_browser()
    if executable is None:
        reason = "no Chromium found: `apt install chromium`, or name one in MEDIANA_CHROMIUM"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    async with open_browser(executable) as browser:
        yield browser


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader("acme")
