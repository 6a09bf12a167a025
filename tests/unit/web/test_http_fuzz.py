"""Whatever is asked of the page and its API, the answer is one that was meant: never a 500."""

import asyncio
import json
import string
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import date
from urllib.parse import quote

import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from yarl import URL

from schemas.limits import MAX_FILTER_VALUES
from streams.snapshots.manifest import PublicKeys
from streams.web.csv import TABLES
from streams.web.page import LANGUAGES
from streams.web.server import create_web_app
from tests.support.fake_reader import FakeReader
from tests.support.tokens import Client

MEANT = {200, 304, 400, 403, 404, 405, 422}


class _StrictReader(FakeReader):
    """Refuses what the real one cannot ask Redis for: names that are no UTF-8."""

    async def report(self, account_id: str) -> bytes | None:
        PublicKeys("main", account_id).report.encode()
        return await super().report(account_id)


@pytest.fixture(scope="module")
def loop_and_client() -> Iterator[tuple[asyncio.AbstractEventLoop, Client]]:
    """One server for all generated requests of this module."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()

        @asynccontextmanager
        async def made() -> AsyncIterator[Client]:
            async with TestClient(TestServer(create_web_app(_StrictReader("acme")))) as client:
                yield client

        context = made()
        client = loop.run_until_complete(context.__aenter__())
        yield loop, client
        loop.run_until_complete(context.__aexit__(None, None, None))


_text = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "none", "=none", "\x00", "\u2028", "é", "%", "%ff", "%00", "+", "🙂", "0", "-1", "1e9", "a" * 300]
    ),
)
_year = st.one_of(st.integers(1, 9999), st.sampled_from([1, 2, 11, 1899, 1900, 1970, 2026, 9989, 9998, 9999]))
_dates = st.builds(lambda y, m, d: f"{y:04d}-{m:02d}-{d:02d}", _year, st.integers(0, 13), st.integers(0, 32))
_near = st.builds(
    lambda start, days: date.fromordinal(min(start + days, date.max.toordinal())).isoformat(),
    st.integers(1, date.max.toordinal()),
    st.integers(0, 4000),
)
_day = st.one_of(
    _dates, _near, st.sampled_from(["0001-01-01", "9999-12-31", "9998-12-31", "1900-01-01", "2026-11-22"]), _text
)
_parameter = st.one_of(
    st.tuples(st.sampled_from(["from", "to"]), _day),
    st.tuples(st.just("period"), st.one_of(_text, st.sampled_from(["today", "last_month", "last_30_days"]))),
    st.tuples(st.sampled_from(["origin", "group", "channel", "advisor"]), _text),
    st.tuples(st.just("table"), st.one_of(_text, st.sampled_from(sorted(TABLES)))),
    st.tuples(
        st.sampled_from(["limit", "offset", "cursor", "lang", "order", "over", "clock", "compare"]),
        st.one_of(_text, st.sampled_from([*LANGUAGES, "1", "longest", "business", "to-date", "1e999", "nan"])),
    ),
    st.tuples(_text, _text),
)
_path = st.one_of(
    st.sampled_from(
        [
            "/",
            "/healthz",
            "/api/v1/accounts",
            "/api/v1/openapi.json",
            *(f"/api/v1/accounts/acme/{name}" for name in ("report", "metrics", "metrics.csv", "rows.csv")),
            *(f"/api/v1/accounts/acme/lists/{name}" for name in ("response", "waiting", "origins.csv", "none")),
        ]
    ),
    st.builds(
        lambda name, end: f"/api/v1/accounts/{quote(name, safe='')}/{end}",
        _text,
        st.sampled_from(["report", "metrics", "x"]),
    ),
    st.builds(lambda name: "/static/" + quote(name), _text),
    st.sampled_from(
        [
            "/api/v1/accounts/%ff/report",
            "/api/v1/accounts/%ed%a0%80/report",
            "/api/v1/accounts/%00/metrics",
            "//",
            "/%2e%2e/",
        ]
    ),
)
_headers = st.dictionaries(
    st.sampled_from(["If-None-Match", "Accept-Language", "Authorization", "Accept-Encoding", "Range"]),
    st.one_of(
        st.text(string.ascii_letters + string.digits + ' "*,;=/-.', max_size=30),
        st.sampled_from(['"7"', "*", 'W/"', "en;q=x, es;q=nan, pt;q=1e999", "Bearer", "Bearer x", "bytes=0-1"]),
    ).map(str.strip),
    max_size=2,
)


@given(path=_path, parameters=st.lists(_parameter, max_size=6), headers=_headers)
@example(path="/api/v1/accounts/acme/metrics", parameters=[("from", "2026-11-22"), ("to", "9999-12-31")], headers={})
@example(path="/api/v1/accounts/acme/metrics", parameters=[("from", "9999-12-31"), ("to", "9999-12-31")], headers={})
@example(
    path="/api/v1/accounts/acme/metrics.csv",
    parameters=[("table", "days"), ("from", "0001-01-01"), ("to", "0001-01-01")],
    headers={},
)
@example(
    path="/api/v1/accounts/acme/rows.csv",
    parameters=[("table", "days"), ("from", "0001-01-01"), ("to", "9999-12-31")],
    headers={},
)
@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_request_ends_in_a_500(
    loop_and_client: tuple[asyncio.AbstractEventLoop, Client],
    path: str,
    parameters: list[tuple[str, str]],
    headers: dict[str, str],
) -> None:
    loop, client = loop_and_client
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in parameters)
    status, kind, body = loop.run_until_complete(_asked(client, f"{path}?{query}", headers))
    assert status in MEANT, (status, body)
    if status >= 400:
        assert kind == "application/json"
        assert list(json.loads(body)["error"]) == ["code", "message", "hint"]


async def _asked(client: Client, address: str, headers: dict[str, str]) -> tuple[int, str, bytes]:
    base = str(client.make_url("/")).rstrip("/")
    async with client.session.get(
        URL(base + address, encoded=True), headers=headers, allow_redirects=False
    ) as response:
        return response.status, response.content_type, await response.read()


# --- filters: what is asked at once -----------------------------------------------------------------------------------


def test_as_many_values_as_may_be_are_answered_and_one_more_is_refused(
    loop_and_client: tuple[asyncio.AbstractEventLoop, Client],
) -> None:
    loop, client = loop_and_client
    week = "/api/v1/accounts/acme/metrics?from=2026-11-16&to=2026-11-22"

    def status(**counts: int) -> int:
        asked = "".join(f"&{name}=v{n}" for name, count in counts.items() for n in range(count))
        code, _, body = loop.run_until_complete(_asked(client, week + asked, {}))
        if code != 200:
            assert json.loads(body)["error"]["code"] == "too_many_values"
        return code

    assert status(origin=MAX_FILTER_VALUES) == 200
    assert status(origin=MAX_FILTER_VALUES + 1) == 400
    assert status(advisor=100, group=10) == 200
    assert status(advisor=100, group=11) == 400
    assert status(origin=40, group=40, channel=40, advisor=40) == 400
    assert status(origin=110, group=110, channel=110, advisor=110) == 400
