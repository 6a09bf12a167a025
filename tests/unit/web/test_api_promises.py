"""What holds for every route of the API: tags, one shape of errors, nothing for a stranger's token, Grafana served."""

import asyncio
import csv
import io
import json
import logging
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from streams.http.rate_limit import Rates
from streams.http.tokens import Access
from streams.web.openapi import FILE
from streams.web.server import create_web_app
from tests.support.fake_reader import FakeReader
from tests.support.tokens import DIGESTS, TOKENS, Client, bearer

SNAPSHOT_PAGE = (Path(__file__).parents[3] / "docs" / "use" / "snapshot.md").read_text(encoding="utf-8")

QUERIES = {
    "metrics": "?period=last_7_days",
    "metrics.csv": "?period=last_7_days&table=days",
    "rows.csv": "?period=last_7_days&table=contacts",
    "{list}": "?period=last_7_days",
    "{list}.csv": "?period=last_7_days",
}
PATHS: list[str] = [
    path + QUERIES.get(path.rpartition("/")[2], "") for path in json.loads(FILE.read_text(encoding="utf-8"))["paths"]
]
OF_ACCOUNT = [path for path in PATHS if "{account_id}" in path]
UNTAGGED = ("/healthz", "/api/v1/accounts/{account_id}/events")


def of(path: str, account_id: str) -> str:
    return path.replace("{account_id}", account_id).replace("{list}", "response")


def test_no_route_is_left_out_here() -> None:
    assert len(PATHS) == 10
    assert len(OF_ACCOUNT) == 7


# --- tags ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/static/page.js", *(path for path in PATHS if path not in UNTAGGED)])
async def test_who_has_an_answer_is_told_so_instead_of_being_sent_it(client: Client, path: str) -> None:
    async with client.get(of(path, "acme")) as response:
        tag = response.headers["ETag"]
        assert (response.status, len(await response.read()) > 0) == (200, True)
        assert "no-cache" in response.headers["Cache-Control"]
    for known in (tag, f'"another", {tag}', f"W/{tag}"):
        async with client.get(of(path, "acme"), headers={"If-None-Match": known}) as response:
            assert (response.status, await response.read(), response.headers["ETag"]) == (304, b"", tag)
    async with client.get(of(path, "acme"), headers={"If-None-Match": '"another"'}) as response:
        assert response.status == 200


async def test_the_list_of_accounts_has_a_tag_for_each_caller(guarded: Client, reader: FakeReader) -> None:
    tags = [(await guarded.get("/api/v1/accounts", headers=bearer(one))).headers["ETag"] for one in TOKENS]
    assert tags[0] != tags[1]
    reader.accounts_published = ["globex"]
    known = {**bearer("acme"), "If-None-Match": tags[0]}
    async with guarded.get("/api/v1/accounts", headers=known) as response:
        assert (response.status, await response.json()) == (200, {"accounts": []})


async def test_what_is_long_is_compressed_for_those_who_accept_it(client: Client) -> None:
    sizes = {}
    for encoding in ("gzip", "identity"):
        async with client.get("/api/v1/accounts/acme/report", headers={"Accept-Encoding": encoding}) as response:
            sizes[encoding] = int(response.headers["Content-Length"])
            assert response.headers.get("Content-Encoding", "identity") == encoding
            assert "Accept-Encoding" in response.headers["Vary"]
            assert (await response.json())["account_id"] == "acme"
    assert sizes["gzip"] < sizes["identity"] / 4


# --- errors --------------------------------------------------------------------------------------------------------


async def check_error(response: Any, status: int, code: str) -> None:
    """That a response is an error of the one shape, with nothing in it that is not for everybody."""
    assert (response.status, response.content_type) == (status, "application/json")
    body = await response.json()
    assert list(body) == ["error"]
    assert list(body["error"]) == ["code", "message", "hint"]
    assert body["error"]["code"] == code
    assert all(isinstance(text, str) and text for text in body["error"].values())
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/static/page.js", *PATHS])
async def test_every_route_refuses_to_be_written_in_the_one_shape(client: Client, path: str) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        async with client.request(method, of(path, "acme"), data=b"x" * 500_000) as response:
            await check_error(response, 405, "method_not_allowed")
            assert "GET" in response.headers["Allow"]


@pytest.mark.parametrize("path", PATHS)
async def test_below_every_route_there_is_nothing_in_the_one_shape(client: Client, path: str) -> None:
    async with client.get(f"{of(path, 'acme').partition('?')[0]}/more") as response:
        await check_error(response, 404, "not_found")


@pytest.mark.parametrize("path", [path for path in PATHS if "openapi" not in path])
async def test_a_fault_of_ours_is_told_in_the_one_shape(client: Client, reader: FakeReader, path: str) -> None:
    reader.failure = RuntimeError("the inside of the program")
    async with client.get(of(path, "acme")) as response:
        await check_error(response, 500, "internal")
        assert "inside" not in await response.text()


@pytest.mark.parametrize("path", [path for path in PATHS if path != "/healthz"])
async def test_every_route_of_the_api_has_its_rate_in_the_one_shape(reader: FakeReader, path: str) -> None:
    app = create_web_app(reader, rates=Rates(0.5, lambda: 100.0))
    async with TestClient(TestServer(app)) as client:
        async with client.get(of(path, "acme")) as response:
            assert response.status == 200
        async with client.get(of(path, "acme")) as response:
            await check_error(response, 429, "too_many_requests")
            assert response.headers["Retry-After"] == "2"


async def test_a_request_that_cannot_be_read_is_refused_and_never_logged(
    reader: FakeReader, caplog: pytest.LogCaptureFixture
) -> None:
    async with TestServer(create_web_app(reader, Access(DIGESTS))) as server:
        for line in (b"Authorization: Bearer sec\x01ret", b"X: " + b"secret" * 5_000):
            reading, writing = await asyncio.open_connection("127.0.0.1", server.port)
            writing.write(b"GET /api/v1/accounts?origin=secret HTTP/1.1\r\nHost: localhost\r\n" + line + b"\r\n\r\n")
            assert (await reading.readline()).split()[1] == b"400"
            writing.close()
            await writing.wait_closed()
    logged = [record for record in caplog.records if record.name == "aiohttp.server"]
    assert len(logged) == 2
    for record in logged:
        assert record.levelno == logging.WARNING
        assert "not a request that can be read" in record.getMessage()
        assert not re.search("sec|ret|X:", caplog.handler.format(record).partition("WARNING")[2].replace("read", ""))


# --- a token of another account ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", OF_ACCOUNT)
async def test_to_a_token_of_another_account_one_that_exists_is_like_one_that_does_not(
    guarded: Client, reader: FakeReader, path: str
) -> None:
    reader.failure = RuntimeError("nothing may be looked up")
    answers = []
    for account_id in ("acme", "nobody", "acm%65", "%00", "acme%20"):
        for beside in ({}, {"If-None-Match": '"7"'}, {"Last-Event-ID": "7"}):
            async with guarded.get(of(path, account_id), headers={**bearer("globex"), **beside}) as response:
                await check_error(response, 403, "forbidden")
                headers = {name: value for name, value in response.headers.items() if name != "Date"}
                answers.append((await response.text(), headers))
    assert answers.count(answers[0]) == len(answers) == 15
    assert reader.asked == []


@pytest.mark.parametrize("path", [path for path in PATHS if path.startswith("/api/v1/accounts")])
async def test_a_token_anywhere_but_in_the_header_opens_nothing(guarded: Client, path: str) -> None:
    token = TOKENS["acme"]
    address = of(path, "acme")
    for name in ("token", "access_token", "authorization"):
        url = f"{address}{'&' if '?' in address else '?'}{name}={token.replace(' ', '%20')}"
        async with guarded.get(url, headers={"Cookie": f"{name}={token.replace(' ', '_')}"}) as response:
            await check_error(response, 401, "token_needed")


# --- Grafana -------------------------------------------------------------------------------------------------------

ROW = re.compile(r"^\| [\w ]+ \| (JSON|CSV), backend \| `…(\S+)` \|(?: `([\w.]+)` | )\| (.*) \|$", re.MULTILINE)
PANELS = ROW.findall(SNAPSHOT_PAGE)


def test_the_panels_of_the_documentation_are_found() -> None:
    assert [kind for kind, *_ in PANELS] == ["JSON", "CSV", "JSON", "CSV", "JSON"]


@pytest.mark.parametrize(("kind", "path", "root", "columns"), PANELS, ids=[path for _, path, _, _ in PANELS])
async def test_what_grafana_is_told_to_ask_for_is_there(
    guarded: Client, kind: str, path: str, root: str, columns: str
) -> None:
    path = path.replace("${__from:date:YYYY-MM-DD}", "2026-11-16").replace("${__to:date:YYYY-MM-DD}", "2026-11-22")
    # As the plugin's backend asks: a bearer token, whatever type, compressed.
    headers = {**bearer("acme"), "Accept": "application/json;q=0.9,text/plain", "Accept-Encoding": "gzip"}
    async with guarded.get(f"/api/v1/accounts/acme{path}", headers=headers) as response:
        assert response.status == 200
        text = await response.text()
    rows: Any
    if kind == "CSV":
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    else:
        rows = json.loads(text)
        for step in root.split("."):
            rows = rows[step]
    rows = rows if isinstance(rows, list) else [rows]
    assert rows
    wanted = re.findall(r"`(\w+)` as (number|string|time)", columns)
    assert wanted
    for row in rows:
        for name, type_name in wanted:
            if type_name == "number":
                float(row[name])
            elif type_name == "time":
                datetime.fromisoformat(row[name])
            else:
                assert row[name] is None or isinstance(row[name], str)
