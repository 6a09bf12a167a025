"""The page's server: routes, errors, tags, access, headers, over a reader that needs no Redis."""

import csv
import io
import json
import logging
import re
import shlex
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry
from redis.exceptions import ConnectionError as RedisConnectionError

from aggregates.filters import Filters
from streams.config import Config
from streams.http.access_log import AccessLogger
from streams.http.guards import SECURITY_HEADERS, is_loopback
from streams.http.metrics import PageMetrics
from streams.http.rate_limit import CALLERS, Rates
from streams.http.tokens import Access, FileAccess, TokensFileError
from streams.snapshots.parts import Part
from streams.snapshots.reader import MissingPart
from streams.web import server as http
from streams.web.page import LANGUAGES, choose_language
from streams.web.reader_protocol import OUTAGE
from streams.web.server import create_web_app
from tests.support.fake_reader import FakeReader
from tests.support.tokens import DIGESTS, TOKENS, Client, bearer

DOCS = Path(__file__).parents[3] / "docs"
STATIC = Path(http.__file__).parent / "static"
REPORT = "/api/v1/accounts/acme/report"
METRICS = "/api/v1/accounts/acme/metrics"
CSV = "/api/v1/accounts/acme/metrics.csv"
WEEK = f"{METRICS}?from=2026-11-16&to=2026-11-22"


async def error_of(client: Client, path: str, **options: Any) -> tuple[int, str]:
    """Status and code of an error, after checking that it has the one shape and nothing more."""
    async with client.request(options.pop("method", "GET"), path, **options) as response:
        assert response.content_type == "application/json", path
        body = await response.json()
        assert list(body) == ["error"], path
        assert list(body["error"]) == ["code", "message", "hint"], path
        assert all(isinstance(text, str) and text for text in body["error"].values()), body
        assert "Traceback" not in json.dumps(body)
        return response.status, body["error"]["code"]


# --- Redis away ------------------------------------------------------------------------------------------------------


async def test_a_redis_that_is_away_is_one_line_of_the_log_and_another_one_when_it_is_back(
    client: Client, reader: FakeReader, caplog: pytest.LogCaptureFixture
) -> None:
    assert client.app is not None
    client.app[OUTAGE].settled_seconds = 0
    assert (await client.get(WEEK)).status == 200
    reader.failure = RedisConnectionError("refused")
    for path in (WEEK, "/healthz", "/api/v1/accounts", REPORT) * 25:
        assert await error_of(client, path) == (503, "redis_unavailable")
    reader.failure = None
    for path in (WEEK, "/healthz") * 5:
        assert (await client.get(path)).status == 200
    gone, back = [message for message in caplog.messages if "Redis" in message]
    assert gone == f"{METRICS}: Redis does not answer: refused (told once, and again when it is over)"
    assert re.fullmatch(r"Redis: over after \d+\.\d s and 100 failed tries", back)


# --- what is answered ----------------------------------------------------------------------------------------------


async def test_health_says_whether_a_report_is_published(client: Client, reader: FakeReader) -> None:
    assert await (await client.get("/healthz")).json() == {"status": "ok", "report_published": True}
    reader.accounts_published = []
    assert await (await client.get("/healthz")).json() == {"status": "ok", "report_published": False}


async def test_the_accounts_with_a_report_are_listed(client: Client) -> None:
    listed = await (await client.get("/api/v1/accounts")).json()
    assert listed == {"accounts": [{"account_id": "acme"}, {"account_id": "globex"}]}


async def test_the_report_is_the_document_as_published(client: Client, reader: FakeReader) -> None:
    response = await client.get(REPORT)
    assert await response.read() == await reader.report("acme")
    assert response.headers["ETag"] == '"7"'


async def test_metrics_of_a_range_stand_beside_the_days_before(client: Client) -> None:
    body = await (await client.get(f"{METRICS}?from=2026-11-20&to=2026-11-22")).json()
    assert list(body) == [
        *("account_id", "from", "to", "timezone", "revision", "as_of", "complete", "complete_from", "filters"),
        *("unknown_values", "metrics", "previous"),
    ]
    assert (body["from"], body["to"], body["revision"], body["complete"]) == ("2026-11-20", "2026-11-22", 7, True)
    assert list(body["metrics"]["new_contacts"]["by_day"]) == ["2026-11-20", "2026-11-21", "2026-11-22"]
    assert (body["previous"]["from"], body["previous"]["to"]) == ("2026-11-17", "2026-11-19")
    assert list(body["previous"]["metrics"]["new_contacts"]["by_day"]) == ["2026-11-17", "2026-11-18", "2026-11-19"]
    for table, rows in (("by_advisor", 3), ("by_group", 3), ("by_channel", 4)):
        assert len(body["previous"]["metrics"][table]) == len(body["metrics"][table]) == rows


async def test_a_preset_means_the_days_it_has_in_the_snapshot(client: Client) -> None:
    body = await (await client.get(f"{METRICS}?period=last_month")).json()
    assert (body["from"], body["to"]) == ("2026-10-01", "2026-10-31")


async def test_filters_take_several_values_and_none_asks_for_null(client: Client, reader: FakeReader) -> None:
    response = await client.get(f"{WEEK}&origin=Google&origin=none&group=sales&channel=email&advisor=ana")
    wanted = Filters(origin=("Google", None), group=("sales",), channel=("email",), advisor=("ana",))
    assert reader.asked == [("acme", date(2026, 11, 16), date(2026, 11, 22), wanted)]
    assert (await response.json())["filters"] == {
        "origin": ["Google", None],
        "group": ["sales"],
        "channel": ["email"],
        "advisor": ["ana"],
    }


@pytest.mark.parametrize("path", [REPORT, WEEK])
async def test_who_has_the_revision_is_not_sent_it_again(client: Client, reader: FakeReader, path: str) -> None:
    for known in ('"7"', 'W/"7"', '"6", "7"', "*"):
        response = await client.get(path, headers={"If-None-Match": known})
        assert (response.status, await response.read()) == (304, b"")
        assert response.headers["ETag"] == '"7"'
    reader.revision = 8
    response = await client.get(path, headers={"If-None-Match": '"7"'})
    assert (response.status, response.headers["ETag"]) == (200, '"8"')


async def test_a_table_is_a_file_with_the_numbers_of_the_json(client: Client) -> None:
    query = "from=2026-11-16&to=2026-11-22&channel=whatsapp&origin=none"
    response = await client.get(f"{CSV}?table=advisors&{query}")
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == (
        'attachment; filename="mediana_acme_advisors_2026-11-16_2026-11-22.csv"'
    )
    assert response.headers["ETag"] == '"7"'
    rows = list(csv.DictReader(io.StringIO((await response.read()).decode(), newline="")))
    answer = (await (await client.get(f"{METRICS}?{query}")).json())["metrics"]["by_advisor"]
    assert [row["advisor"] for row in rows] == [row["advisor"] for row in answer]
    assert [int(row["response_count"]) for row in rows] == [row["response"]["count"] for row in answer]
    assert rows[0]["name"] == "Ana Pérez"


async def test_a_table_of_a_preset_has_the_days_of_the_snapshot(client: Client) -> None:
    response = await client.get(f"{CSV}?table=days&period=last_month")
    assert 'filename="mediana_acme_days_2026-10-01_2026-10-31.csv"' in response.headers["Content-Disposition"]
    assert len((await response.text()).split("\r\n")) == 1 + 31 + 1


async def test_the_name_of_a_file_is_harmless_whatever_the_account_is_called(reader: FakeReader) -> None:
    reader.accounts_published = ['a"; x=\r\n/é']
    async with TestClient(TestServer(create_web_app(reader))) as client:
        response = await client.get(
            "/api/v1/accounts/a%22%3B%20x%3D%0D%0A%2F%C3%A9/metrics.csv?table=days&period=today"
        )
        assert response.headers["Content-Disposition"] == (
            'attachment; filename="mediana_a___x______days_2026-11-22_2026-11-22.csv"'
        )


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/accounts", REPORT, WEEK, "/static/page.js"])
async def test_head_answers_like_get_without_a_body(client: Client, path: str) -> None:
    response = await client.head(path)
    assert (response.status, await response.read()) == (200, b"")


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nowhere", 404, "not_found"),
        ("/static/nowhere.js", 404, "not_found"),
        ("/static/%2e%2e/page.html", 404, "not_found"),
        ("/static/", 404, "not_found"),
        ("/static/words", 404, "not_found"),
        ("/api/v1/accounts/nobody/report", 404, "no_report"),
        ("/api/v1/accounts/nobody/metrics?period=today", 404, "no_report"),
        (f"/api/v1/accounts/nobody/metrics?{WEEK.partition('?')[2]}", 404, "no_report"),
        (METRICS, 400, "bad_range"),
        (f"{METRICS}?from=2026-11-16", 400, "bad_range"),
        (f"{METRICS}?from=2026-11-16&to=yesterday", 400, "bad_range"),
        (f"{METRICS}?from=20261116&to=20261122", 400, "bad_range"),
        (f"{METRICS}?from=2026-02-30&to=2026-03-01", 400, "bad_range"),
        (f"{METRICS}?from=2026-11-22&to=2026-11-16", 400, "bad_range"),
        (f"{METRICS}?from=2006-11-16&to=2026-11-22", 400, "bad_range"),
        (f"{METRICS}?from=0001-01-01&to=0001-01-02", 400, "bad_range"),
        (f"{WEEK}&period=today", 400, "bad_range"),
        (f"{WEEK}&to=2026-11-23", 400, "repeated_parameter"),
        (f"{METRICS}?period=last_century", 400, "unknown_period"),
        (f"{METRICS}?period=", 400, "unknown_period"),
        (f"{WEEK}&orgin=Google", 400, "unknown_parameter"),
        (f"{REPORT}?group=sales", 400, "unknown_parameter"),
        (f"{WEEK}&table=days", 400, "unknown_parameter"),
        (f"{CSV}?period=today", 400, "unknown_table"),
        (f"{CSV}?period=today&table=everything", 400, "unknown_table"),
        (f"{CSV}?period=today&table=days&table=days", 400, "repeated_parameter"),
        (f"{CSV}?table=days", 400, "bad_range"),
        (f"{CSV}?table=days&period=today&format=xlsx", 400, "unknown_parameter"),
        ("/api/v1/accounts/nobody/metrics.csv?table=days&period=today", 404, "no_report"),
        ("/api/v1/accounts/nobody/events", 404, "no_report"),
        ("/api/v1/accounts/acme/events?since=6", 400, "unknown_parameter"),
        ("/api/v1/openapi.json?x=1", 400, "unknown_parameter"),
    ],
)
async def test_every_refusal_has_one_shape(client: Client, path: str, status: int, code: str) -> None:
    assert await error_of(client, path) == (status, code)


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/accounts", REPORT, METRICS, "/static/page.js"])
async def test_nothing_can_be_written(client: Client, path: str) -> None:
    assert await error_of(client, path, method="POST", data=b"x") == (405, "method_not_allowed")
    assert "GET" in (await client.delete(path)).headers["Allow"]


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/accounts", REPORT, WEEK, f"{METRICS}?period=today"])
async def test_without_redis_the_answer_is_503_and_names_no_address(
    client: Client, reader: FakeReader, path: str
) -> None:
    reader.failure = RedisConnectionError("Error 111 connecting to redis.internal:6379")
    assert await error_of(client, path) == (503, "redis_unavailable")
    response = await client.get(path)
    assert response.headers["Retry-After"] == "5"
    assert "redis.internal" not in await response.text()


@pytest.mark.parametrize("path", [WEEK, f"{METRICS}?period=today"])
async def test_a_missing_part_is_an_error_that_is_counted_and_never_zero(path: str) -> None:
    reader = FakeReader("acme")
    registry = CollectorRegistry()
    app = create_web_app(reader, page_metrics=PageMetrics(registry))
    async with TestClient(TestServer(app)) as client:
        reader.failure = MissingPart("acme", Part("739000", "x.1"))
        assert await error_of(client, path) == (503, "part_missing")
        response = await client.get(path)
        assert response.headers["Retry-After"] == "60"
        assert "739000" not in await response.text()
        assert registry.get_sample_value("mediana_http_missing_parts_total") == 2


async def test_a_failure_of_ours_is_logged_and_its_text_kept_back(
    client: Client, reader: FakeReader, caplog: pytest.LogCaptureFixture
) -> None:
    reader.failure = RuntimeError("the inside of the program")
    assert await error_of(client, REPORT) == (500, "internal")
    assert "the inside of the program" in caplog.text
    assert "the inside of the program" not in await (await client.get(REPORT)).text()


@pytest.mark.parametrize("path", ["/", "/healthz", REPORT, "/nowhere", f"{METRICS}?period=x", "/static/page.js"])
async def test_every_response_carries_the_security_headers(client: Client, path: str) -> None:
    headers = (await client.get(path)).headers
    assert {name: headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS


# --- who may read what ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/v1/accounts", REPORT, WEEK, f"{CSV}?table=days&period=today"])
async def test_where_tokens_are_in_force_a_token_is_needed(guarded: Client, path: str) -> None:
    assert await error_of(guarded, path) == (401, "token_needed")
    assert (await guarded.get(path)).headers["WWW-Authenticate"].startswith("Bearer")
    for header in ("Bearer", "Bearer  ", "Basic YTpi", TOKENS["acme"]):
        assert await error_of(guarded, path, headers={"Authorization": header}) == (401, "token_needed")
    unknown = {"Authorization": "Bearer guessed"}
    assert await error_of(guarded, path, headers=unknown) == (401, "token_unknown")
    # The digest is what the file holds; whoever sees the file must not get in with it.
    digest = {"Authorization": f"Bearer {DIGESTS['acme'][0]}"}
    assert await error_of(guarded, path, headers=digest) == (401, "token_unknown")
    assert (await guarded.get(path, headers=bearer("acme"))).status == 200


@pytest.mark.parametrize(
    "path", [REPORT, WEEK, f"{CSV}?table=days&period=today", f"{CSV}", "/api/v1/accounts/nobody/report"]
)
async def test_a_token_of_another_account_learns_nothing(guarded: Client, reader: FakeReader, path: str) -> None:
    assert await error_of(guarded, path, headers=bearer("globex")) == (403, "forbidden")
    assert reader.asked == []


async def test_a_token_lists_its_own_accounts_only(guarded: Client) -> None:
    response = await guarded.get("/api/v1/accounts", headers=bearer("globex"))
    assert await response.json() == {"accounts": [{"account_id": "globex"}]}


async def test_a_token_in_the_address_opens_nothing(guarded: Client) -> None:
    assert (await error_of(guarded, f"{WEEK}&token={TOKENS['acme'].replace(' ', '%20')}"))[0] == 401


async def test_page_and_health_need_no_token(guarded: Client) -> None:
    for path in ("/", "/healthz", "/static/page.js"):
        assert (await guarded.get(path)).status == 200


async def test_a_tag_is_no_way_around_the_token(guarded: Client) -> None:
    assert await error_of(guarded, REPORT, headers={"If-None-Match": '"7"'}) == (401, "token_needed")


async def test_a_server_open_on_loopback_answers_no_foreign_name(reader: FakeReader) -> None:
    async with TestClient(TestServer(create_web_app(reader, only_loopback_names=True))) as client:
        for host in ("localhost", "127.0.0.1:8080", "[::1]:8080"):
            assert (await client.get(REPORT, headers={"Host": host})).status == 200
        assert await error_of(client, REPORT, headers={"Host": "evil.example"}) == (403, "foreign_host")
        assert (await client.get("/healthz", headers={"Host": "probe.internal"})).status == 200


def test_loopback_is_told_from_the_rest() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost", "LOCALHOST"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "", "10.0.0.1", "localhost.example"))


@pytest.mark.parametrize(("name", "text"), [("t.toml", 'acme = ["{}"]'), ("t.json", '{{"acme": ["{}"]}}')])
def test_a_tokens_file_maps_accounts_to_digests(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text.format(DIGESTS["acme"][0]))
    access = FileAccess(file)
    assert access.needs_token
    assert access.opened_by(TOKENS["acme"]) == {"acme"}
    assert access.opened_by("another") == frozenset()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.toml", "acme = "),
        ("t.json", "acme = []"),
        ("t.json", "[]"),
        ("t.toml", 'acme = "secret"'),
        ("t.toml", 'acme = ["secret"]'),
        ("t.toml", "acme = [5]"),
    ],
)
def test_a_tokens_file_that_is_none_is_refused_without_repeating_it(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(TokensFileError) as refused:
        FileAccess(file)
    assert str(file) in str(refused.value)
    assert "secret" not in str(refused.value)


def test_an_empty_tokens_file_opens_nothing_rather_than_everything(tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text("")
    assert FileAccess(file).needs_token


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (Config(http_host="0.0.0.0"), "MEDIANA_HTTP_TOKENS_FILE"),
        (Config(http_tokens_file=Path("/nonexistent/tokens.toml")), "cannot read the tokens file"),
    ],
)
def test_the_server_does_not_start_open_to_all_by_mistake(
    config: Config, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert http.run(config) == 2
    assert told in capsys.readouterr().err


# --- how often, and what is logged ---------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_a_caller_may_ask_a_burst_and_then_at_its_rate() -> None:
    clock = Clock()
    rates = Rates(2.0, clock)
    assert [rates.take("a") for _ in range(4)] == [0, 0, 0, 0]  # two seconds' worth
    assert rates.take("a") == 0.5
    assert rates.take("b") == 0
    clock.seconds += 0.25
    assert rates.take("a") == 0.25  # asking too early costs nothing
    clock.seconds += 0.25
    assert (rates.take("a"), rates.take("a")) == (0, 0.5)
    clock.seconds += 1_000_000
    assert [rates.take("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]  # no more than a burst was saved up


def test_a_rate_below_one_a_second_lets_one_through() -> None:
    rates = Rates(0.1, Clock())
    assert (rates.take("a"), rates.take("a")) == (0, 10.0)


def test_callers_that_come_once_take_no_memory_for_ever() -> None:
    rates = Rates(1.0, Clock())
    for caller in range(CALLERS + 500):
        rates.take(str(caller))
    assert len(rates._buckets) == CALLERS


async def test_who_asks_too_often_is_told_when_to_come_back(reader: FakeReader) -> None:
    clock = Clock()
    app = create_web_app(reader, rates=Rates(0.5, clock))
    async with TestClient(TestServer(app)) as client:
        assert (await client.get(REPORT)).status == 200
        assert await error_of(client, REPORT) == (429, "too_many_requests")
        assert (await client.get("/api/v1/nowhere")).headers["Retry-After"] == "2"
        for path in ("/", "/healthz", "/static/page.js"):
            assert (await client.get(path)).status == 200
        clock.seconds += 2
        assert (await client.get(REPORT)).status == 200


async def test_each_token_has_its_own_rate_and_guesses_share_that_of_their_address(reader: FakeReader) -> None:
    app = create_web_app(reader, Access(DIGESTS), rates=Rates(0.5, Clock()))
    async with TestClient(TestServer(app)) as client:
        for account in TOKENS:
            path = f"/api/v1/accounts/{account}/report"
            assert (await client.get(path, headers=bearer(account))).status == 200
            assert (await client.get(path, headers=bearer(account))).status == 429
        guesses = [(await client.get(REPORT, headers={"Authorization": f"Bearer {n}"})).status for n in range(3)]
        assert guesses == [401, 429, 429]


async def test_the_access_log_has_neither_query_nor_token(reader: FakeReader, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiohttp.access")
    server = TestServer(create_web_app(reader, Access(DIGESTS)))
    await server.start_server(access_log_class=AccessLogger)
    async with TestClient(server) as client:
        await client.get(f"{WEEK}&origin=secret-origin&token=secret-token", headers=bearer("acme"))
        await client.get("/api/v1/accounts/a%0Ab/report?x=secret", headers=bearer("acme"))
    lines = [record.getMessage() for record in caplog.records if record.name == "aiohttp.access"]
    assert re.fullmatch(rf'127\.0\.0\.1 "GET {METRICS}" 400 \d+ \d+\.\d{{3}}', lines[0])
    assert '"GET /api/v1/accounts/a%0Ab/report" 403' in lines[1]
    assert "secret" not in caplog.text
    assert TOKENS["acme"] not in caplog.text


# --- what the documentation shows -----------------------------------------------------------------------------------


def shown_commands() -> list[list[str]]:
    """Every curl in docs/use/snapshot.md, as its words."""
    lines = (DOCS / "use" / "snapshot.md").read_text(encoding="utf-8").splitlines()
    return [shlex.split(line.removeprefix("$ ")) for line in lines if re.match(r"(\$ )?curl ", line)]


async def test_every_curl_of_the_documentation_is_answered(client: Client) -> None:
    commands = shown_commands()
    assert len(commands) >= 9
    for words in commands:
        url = next(word for word in words if "://" in word)
        headers = dict(word.split(": ", 1) for word in words if re.match(r"[A-Z][\w-]+: ", word))
        async with client.get("/" + url.split("/", 3)[3], headers=headers) as response:
            assert response.status == (304 if "If-None-Match" in headers else 200), words


# --- the page's files ----------------------------------------------------------------------------------------------


async def test_the_page_comes_in_the_language_asked_for(client: Client) -> None:
    for query, accepted, language in (("", "", "en"), ("", "pt-BR,en;q=0.5", "pt"), ("?lang=es", "pt", "es")):
        text = await (await client.get(f"/{query}", headers={"Accept-Language": accepted})).text()
        assert f'<html lang="{language}">' in text


async def test_a_file_of_the_page_is_sent_once_until_it_changes(client: Client) -> None:
    for path, kind in (("page.js", "text/javascript"), ("page.css", "text/css"), ("icon.svg", "image/svg+xml")):
        response = await client.get(f"/static/{path}")
        assert (response.content_type, await response.read()) == (kind, (STATIC / path).read_bytes())
        again = await client.get(f"/static/{path}", headers={"If-None-Match": response.headers["ETag"]})
        assert (again.status, await again.read()) == (304, b"")


@pytest.mark.parametrize(
    ("asked", "accepted", "language"),
    [
        (None, "", "en"),
        (None, "fr, es;q=0.3, pt;q=0.8", "pt"),
        (None, "de-CH", "en"),
        (None, "es;q=lots, pt;q=0.1", "pt"),
        ("es", "pt", "es"),
        ('"><script>', "es", "es"),
    ],
)
def test_languages_are_chosen_among_those_there_are(asked: str | None, accepted: str, language: str) -> None:
    assert choose_language(asked, accepted) == language


def dictionary(language: str) -> dict[str, str]:
    text = (STATIC / "words" / f"{language}.js").read_text(encoding="utf-8")
    words: dict[str, str] = json.loads(text.removeprefix("export default ").rstrip().removesuffix(";"))
    return words


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_dictionary_has_the_same_words_and_blanks(language: str) -> None:
    blanks = {key: sorted(re.findall(r"\{\w+\}", text)) for key, text in dictionary(language).items()}
    assert blanks == {key: sorted(re.findall(r"\{\w+\}", text)) for key, text in dictionary("en").items()}
    assert all(text.strip() for text in dictionary(language).values())


def test_every_word_the_scripts_say_is_in_the_dictionary() -> None:
    words = dictionary("en")
    said = {key for script in STATIC.glob("*.js") for key in re.findall(r'say\("(\w+)"', script.read_text())}
    assert len(said) > 50
    assert said - words.keys() == set()


def test_no_file_of_ours_names_another_host_or_makes_markup_from_text() -> None:
    for file in (*STATIC.glob("*.js"), *STATIC.glob("*.css"), *STATIC.glob("words/*.js"), STATIC.parent / "page.html"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"https?://|url\(|@import", text), file.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text), file.name


def test_what_is_not_ours_comes_with_its_licence() -> None:
    folders = [folder for folder in (STATIC / "vendor").iterdir() if folder.is_dir()]
    assert [folder.name for folder in folders] == ["uplot"]
    assert all((folder / "LICENSE").read_text().startswith("The MIT License") for folder in folders)


# --- comparisons ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compare", "key", "ends"),
    [
        ("", "previous", ("2026-11-09", "2026-11-15")),
        ("&compare=previous", "previous", ("2026-11-09", "2026-11-15")),
        ("&compare=to-date", "previous_to_date", ("2026-11-09", "2026-11-15")),
        ("&compare=year", "year_before", ("2025-11-16", "2025-11-22")),
        ("&compare=none", None, ()),
    ],
)
async def test_one_earlier_period_stands_beside_the_metrics(
    client: Client, compare: str, key: str | None, ends: tuple[str, ...]
) -> None:
    response = await client.get(f"/api/v1/accounts/acme/metrics?from=2026-11-16&to=2026-11-22{compare}")
    body = await response.json()
    found = body.keys() & {"previous", "previous_to_date", "year_before"}
    assert found == ({key} if key else set())
    if key:
        assert (body[key]["from"], body[key]["to"]) == ends
        assert ("waiting" in body[key]["metrics"]) == (key == "previous")


@pytest.mark.parametrize(
    "query", ["from=2026-11-01&to=2026-11-02&compare=to-date", "from=2026-11-16&to=2026-11-22&compare=before"]
)
async def test_a_comparison_that_there_is_not_is_refused(client: Client, query: str) -> None:
    response = await client.get(f"/api/v1/accounts/acme/metrics?{query}")
    error = (await response.json())["error"]
    assert (response.status, error["code"]) == (422, "bad_comparison")


async def test_values_that_nobody_knows_are_named(client: Client) -> None:
    response = await client.get("/api/v1/accounts/acme/metrics?period=today&origin=Nowhere")
    assert (await response.json())["unknown_values"] == {"origin": ["Nowhere"]}


async def test_a_value_with_a_sign_of_equality_stands_for_itself(client: Client) -> None:
    response = await client.get("/api/v1/accounts/acme/metrics?period=today&origin==none&origin=none&group=%3D%3Dx")
    assert (await response.json())["filters"] == {"origin": ["none", None], "group": ["=x"]}


# --- how new it is ----------------------------------------------------------------------------------------------------


async def test_what_holds_for_longer_than_its_revision_says_so(client: Client, reader: FakeReader) -> None:
    before = await client.get("/api/v1/accounts/acme/report")
    reader.as_of = "2026-11-22T18:00:00.000Z"
    after = await client.get("/api/v1/accounts/acme/report")
    assert before.headers["Mediana-As-Of"] == "2026-11-22T17:03:00.000Z"
    assert after.headers["Mediana-As-Of"] == reader.as_of
    assert after.headers["ETag"] == before.headers["ETag"] == '"7"'
    # Hours that have begun since, and how long somebody has waited, change the numbers of an answer.
    answer = await client.get("/api/v1/accounts/acme/metrics?period=today")
    assert (await answer.json())["as_of"] == reader.as_of
    assert answer.headers["ETag"] == '"7-2026-11-22T18:00:00.000Z"'
