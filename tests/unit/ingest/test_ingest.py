"""`mediana ingest` over a fake Kafka: what it takes, what it refuses, and how it says so."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import io
import itertools
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from schemas.events import Event, decode_event
from schemas.limits import (
    MAX_BODY_BYTES,
    MAX_ID_LENGTH,
    MAX_REJECTION_DETAIL,
    MAX_REJECTIONS,
    MAX_REQUEST_EVENTS,
)
from schemas.published import EXAMPLES
from streams.config import Config
from streams.http.tokens import Access, FollowedFile, TokensFileError
from streams.ingest import server as ingest
from streams.ingest.access import IngestAccess, read_secrets_file
from streams.ingest.body import (
    JUDGED_AT_ONCE,
    InvalidBody,
    Judged,
    TooManyEvents,
    TooManyRejected,
    judge,
    split_body,
)
from streams.ingest.errors import OUTAGE
from streams.ingest.metrics import IngestMetrics
from streams.ingest.producer import NotSent, Outgoing, Sender
from tests.unit.ingest.test_chatwoot import MESSAGE

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}
TOKEN, UPSTREAM, SECRET = "acme-token", "upstream-token", "a-signing-secret-of-acme"
TOKENS = {
    "acme": [hashlib.sha256(TOKEN.encode()).hexdigest()],
    "*": [hashlib.sha256(UPSTREAM.encode()).hexdigest()],
}

EVENT: dict[str, Any] = {
    "id": "e-1",
    "type": "message.received",
    "account_id": "acme",
    "contact_id": "c-1",
    "occurred_at": "2026-11-22T17:00:00Z",
    "conversation_id": "k-1",
    "channel": "whatsapp",
}


class FakeSender:
    """A Kafka that keeps records in a list, or does not answer."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self.problem: str | None = None
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.stopped = False

    async def send(self, records: Sequence[Outgoing]) -> None:
        await self.may_go_on.wait()
        if self.problem is not None:
            raise NotSent(self.problem, "look at it")
        self.records += records

    async def ready(self) -> str | None:
        return self.problem

    async def stop(self) -> None:
        self.stopped = True


Served = tuple[TestClient[Any, Any], FakeSender]


@asynccontextmanager
async def served(
    access: IngestAccess | None = None, requests: int = 64, registry: CollectorRegistry | None = None
) -> AsyncIterator[Served]:
    sender = FakeSender()
    metrics = IngestMetrics(registry or CollectorRegistry())
    app = ingest.create_ingest_app(
        sender, access or IngestAccess(), metrics=metrics, requests=requests, now=lambda: NOW
    )
    async with TestClient(TestServer(app)) as client:
        yield client, sender
    assert sender.stopped


def guarded() -> IngestAccess:
    return IngestAccess(Access(TOKENS), lambda: {"acme": [SECRET]})


# --- events -----------------------------------------------------------------------------------------------------------


async def test_every_example_goes_to_the_topic_of_its_type_keyed_by_its_contact() -> None:
    examples = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(EXAMPLES.iterdir())
        if path.stem not in ("account", "snapshot")
    ]
    async with served() as (client, sender):
        response = await client.post("/v1/events", json=examples)
        assert (response.status, await response.json()) == (200, {"accepted": 15, "rejected": []})
    assert [(record.topic, record.key.decode()) for record in sender.records] == [
        (
            "mediana.contacts" if example["type"].startswith("contact.") else "mediana.conversations",
            example["contact_id"],
        )
        for example in examples
    ]


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (json.dumps(EVENT), 1),
        (json.dumps(EVENT, indent=2), 1),
        (json.dumps([EVENT, EVENT]), 2),
        (f"{json.dumps(EVENT)}\n\n{json.dumps(EVENT)}\n", 2),
        (f"{json.dumps(EVENT)}\r\n{json.dumps(EVENT)}", 2),
        ("[]", 0),
    ],
)
async def test_an_array_one_event_and_lines_are_taken(body: str, count: int) -> None:
    async with served() as (client, sender):
        response = await client.post("/v1/events", data=body, headers=NDJSON)
        assert (response.status, (await response.json())["accepted"]) == (200, count)
    assert len(sender.records) == count


async def test_the_request_of_the_documentation_is_taken_and_its_answer_is_true() -> None:
    page = (Path(__file__).parents[3] / "docs" / "use" / "bring-your-own-data.md").read_text(encoding="utf-8")
    (body,) = re.findall(r"/v1/events -d '(.*?)'", page, re.DOTALL)
    shown = re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0]
    async with served() as (client, _):
        assert (await client.post("/v1/events", data=body, headers=JSON)).status == 200
        event = json.loads(body)
        events = [event, {**event, "id": "e-2", "contact_id": ""}, {**event, "id": "e-3"}]
        response = await client.post("/v1/events", json=events)
        assert (response.status, await response.json()) == (207, json.loads(shown))


async def test_what_nobody_knows_is_not_passed_on() -> None:
    async with served() as (client, sender):
        await client.post("/v1/events", json={**EVENT, "text": "my number is 12345", "sequence": None})
    assert json.loads(sender.records[0].value) == EVENT


async def test_each_refused_event_is_named_and_the_others_are_taken() -> None:
    body = [
        EVENT,
        {**EVENT, "id": "e-2", "type": "message.eaten"},
        {**EVENT, "id": "e-3", "channel": "Whats App"},
        {**EVENT, "id": "e-4", "occurred_at": "2026-11-22T19:00:00.001Z"},
        {**EVENT, "id": ""},
        3,
        {**EVENT, "id": "e-7", "occurred_at": "2026-11-22T19:00:00Z"},
    ]
    async with served() as (client, sender):
        response = await client.post("/v1/events", json=body)
        assert response.status == 207
        answer = await response.json()
    assert answer["accepted"] == 2
    assert [(one["index"], one["id"], one["reason"]) for one in answer["rejected"]] == [
        (1, "e-2", "unknown-type"),
        (2, "e-3", "malformed"),
        (3, "e-4", "future"),
        (4, "", "malformed"),
        (5, None, "malformed"),
    ]
    assert "message.eaten" in answer["rejected"][0]["detail"]
    assert "channel" in answer["rejected"][1]["detail"]
    assert [json.loads(record.value)["id"] for record in sender.records] == ["e-1", "e-7"]


async def test_when_no_event_is_taken_the_answer_is_an_error_that_says_why() -> None:
    async with served() as (client, sender):
        response = await client.post("/v1/events", json={**EVENT, "contact_id": ""})
        answer = await response.json()
    assert response.status == 400
    assert (answer["accepted"], answer["error"]["code"]) == (0, "no_event_accepted")
    assert answer["rejected"][0]["reason"] == "malformed"
    assert sender.records == []


async def test_nothing_is_claimed_while_kafka_is_away() -> None:
    async with served() as (client, sender):
        sender.problem = "Kafka did not answer within 10 s"
        response = await client.post("/v1/events", json=[EVENT, {**EVENT, "id": ""}])
        answer = await response.json()
        assert (response.status, response.headers["Retry-After"]) == (503, "5")
        assert answer["error"]["code"] == "kafka_unavailable"
        assert "accepted" not in answer
        assert (await client.get("/readyz")).status == 503
        assert (await client.get("/livez")).status == 200
        sender.problem = None
        assert (await client.get("/readyz")).status == 200


async def test_a_kafka_that_is_not_there_is_said_without_its_address() -> None:
    sender = Sender(Config(kafka_bootstrap="127.0.0.1:1"), "test", patience_seconds=5)
    with pytest.raises(NotSent) as caught:
        await sender.send([Outgoing("mediana.contacts", b"c-1", b"{}")])
    await sender.stop()
    assert caught.value.problem == "Kafka does not answer"
    assert "127.0.0.1" in str(caught.value)
    assert await sender.ready() == "Kafka does not answer"


async def test_more_requests_than_may_be_held_are_told_to_come_back() -> None:
    async with served(requests=2) as (client, sender):
        sender.may_go_on.clear()
        held = [asyncio.ensure_future(client.post("/v1/events", json=EVENT)) for _ in range(2)]
        while True:
            response = await client.post("/v1/events", json={"not": "an event"})
            if response.status == 503:
                break
        assert (await response.json())["error"]["code"] == "busy"
        assert (await client.get("/livez")).status == 200
        sender.may_go_on.set()
        assert [(await response).status for response in held] == [200, 200]
        assert (await client.post("/v1/events", json=EVENT)).status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "code"),
    [
        ("POST", "/v1/events", "", JSON, 400, "malformed_body"),
        ("POST", "/v1/events", "{", JSON, 400, "malformed_body"),
        ("POST", "/v1/events", "[1,", JSON, 400, "malformed_body"),
        ("POST", "/v1/events", "id;type\n1;2", JSON, 400, "malformed_body"),
        ("POST", "/v1/events", io.BytesIO(b"[" + b" " * (1 << 20) + b"]"), JSON, 413, "too_large"),
        ("POST", "/v1/events", "[]", {"Content-Type": "text/plain"}, 415, "unsupported_content_type"),
        ("GET", "/v1/events", None, {}, 405, "method_not_allowed"),
        ("POST", "/v1/event", "[]", JSON, 404, "not_found"),
        ("POST", "/v1/events", "[]", {**JSON, "Host": "evil.example"}, 403, "foreign_host"),
        ("PUT", "/v1/accounts/acme", '{"account_id": "other"}', JSON, 400, "wrong_account"),
        ("PUT", "/v1/accounts/acme", '{"account_id": "acme", "timezone": "Mars/Base"}', JSON, 400, "malformed"),
        (
            "PUT",
            "/v1/accounts/acme",
            '{"account_id": "acme", "default_schedule": "office"}',
            JSON,
            400,
            "unknown_schedule",
        ),
        ("POST", "/v1/chatwoot/acme", "{", JSON, 400, "malformed_body"),
        ("POST", "/v1/chatwoot/acme", "{}", JSON, 400, "malformed_webhook"),
        (
            "POST",
            "/v1/chatwoot/acme",
            json.dumps({**MESSAGE, "created_at": "2026-11-22T19:00:01Z"}),
            JSON,
            400,
            "malformed_webhook",
        ),
    ],
)
async def test_every_error_has_the_one_shape(
    method: str, path: str, body: str | io.BytesIO | None, headers: dict[str, str], status: int, code: str
) -> None:
    async with served() as (client, sender):
        response = await client.request(method, path, data=body, headers=headers)
        answer = await response.json()
    assert (response.status, answer["error"]["code"]) == (status, code)
    assert set(answer["error"]) == {"code", "message", "hint"}
    assert all(answer["error"].values())
    assert sender.records == []


def test_lines_that_begin_with_something_else_than_an_object_are_no_events() -> None:
    assert split_body(b'{"a": 1}\nnonsense') == [b'{"a": 1}', b"nonsense"]
    for body in (b"nonsense\n{}", b'{"a": \n{}', b"\xff", b"[" * 100_000):
        with pytest.raises(InvalidBody):
            split_body(body)


async def test_events_are_counted_once_kafka_has_them_and_failures_apart() -> None:
    registry = CollectorRegistry()

    def counted(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"mediana_ingest_{name}", labels)

    body = [EVENT, {**EVENT, "id": "e-2"}, {**EVENT, "id": ""}, {**EVENT, "type": "message.eaten"}]
    async with served(registry=registry) as (client, sender):
        assert (await client.post("/v1/events", json=body)).status == 207
        sender.problem = "Kafka did not answer within 10 s"
        assert (await client.post("/v1/events", json=body)).status == 503
        assert (await client.put("/v1/accounts/acme", json={"account_id": "acme"})).status == 503
        assert (await client.post("/v1/nowhere", json=body)).status == 404
    assert counted("events_accepted_total") == 2
    assert counted("events_refused_total", reason="malformed") == 1
    assert counted("events_refused_total", reason="unknown-type") == 1
    assert counted("produce_seconds_count") == 1
    assert counted("produce_failures_total") == 2
    assert counted("requests_total", route="/v1/events", status="207") == 1
    assert counted("requests_total", route="/v1/events", status="503") == 1
    assert counted("requests_total", route="/v1/accounts/{account_id}", status="503") == 1
    assert counted("requests_total", route="none", status="404") == 1
    assert counted("requests_open", route="/v1/events") == 0


async def test_a_kafka_that_is_away_is_one_line_of_the_log_and_another_one_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served() as (client, sender):
        assert client.app is not None
        client.app[OUTAGE].settled_seconds = 0
        sender.problem = "Kafka does not answer"
        for _ in range(50):
            assert (await client.post("/v1/events", json=EVENT)).status == 503
        sender.problem = None
        assert (await client.post("/v1/events", json=EVENT)).status == 200
    gone, back = [message for message in caplog.messages if "Kafka" in message]
    assert gone == "POST /v1/events: Kafka does not answer (look at it) (told once, and again when it is over)"
    assert re.fullmatch(r"Kafka: over after \d+\.\d s and 50 failed tries", back)


# --- settings and webhooks --------------------------------------------------------------------------------------------


async def test_settings_go_to_the_accounts_topic_keyed_by_the_account() -> None:
    body = json.loads((EXAMPLES / "account.json").read_text(encoding="utf-8"))
    async with served() as (client, sender):
        response = await client.put(f"/v1/accounts/{body['account_id']}", json=body)
        assert (response.status, await response.json()) == (200, {"account_id": body["account_id"], "accepted": 1})
    (record,) = sender.records
    assert (record.topic, record.key.decode()) == ("mediana.accounts", body["account_id"])


async def test_a_webhook_of_chatwoot_is_mapped_and_one_that_means_nothing_is_taken_too() -> None:
    async with served() as (client, sender):
        response = await client.post("/v1/chatwoot/acme", json=MESSAGE)
        assert (response.status, await response.json()) == (200, {"accepted": 1, "rejected": []})
        response = await client.post("/v1/chatwoot/acme", json={**MESSAGE, "event": "message_updated"})
        answer = await response.json()
        assert (response.status, answer["accepted"], answer["rejected"]) == (200, 0, [])
        assert "counted when it was created" in answer["hint"]
        response = await client.post("/v1/chatwoot/acme", json={**MESSAGE, "event": "conversation_exploded"})
        error = (await response.json())["error"]
        assert (response.status, error["code"]) == (400, "unknown_webhook")
        assert "conversation_exploded" in error["message"]
    (record,) = sender.records
    assert (record.topic, record.key, json.loads(record.value)["account_id"]) == (
        "mediana.conversations",
        b"14",
        "acme",
    )


# --- who may ----------------------------------------------------------------------------------------------------------


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_token_sends_only_events_of_its_account() -> None:
    async with served(guarded()) as (client, sender):
        body = [EVENT, {**EVENT, "id": "e-2", "account_id": "other"}]
        response = await client.post("/v1/events", json=body, headers=bearer(TOKEN))
        assert response.status == 207
        assert (await response.json())["rejected"][0]["reason"] == "foreign-account"
        response = await client.put("/v1/accounts/other", json={"account_id": "other"}, headers=bearer(TOKEN))
        assert (response.status, (await response.json())["error"]["code"]) == (403, "forbidden")
        assert len(sender.records) == 1
        response = await client.post("/v1/events", json=body, headers=bearer(UPSTREAM))
        assert (response.status, (await response.json())["accepted"]) == (200, 2)


@pytest.mark.parametrize(
    "headers", [{}, bearer("wrong"), bearer(""), {"Authorization": TOKEN}, {"Authorization": "Basic !"}]
)
async def test_without_a_right_token_nothing_is_taken(headers: dict[str, str]) -> None:
    async with served(guarded()) as (client, sender):
        for method, path in (("POST", "/v1/events"), ("PUT", "/v1/accounts/acme"), ("POST", "/v1/chatwoot/other")):
            response = await client.request(method, path, json=EVENT, headers=headers)
            assert (response.status, (await response.json())["error"]["code"]) == (401, "unauthorized")
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert (await client.get("/livez")).status == 200
    assert sender.records == []


async def test_a_sender_that_knows_only_a_url_may_put_the_token_into_it() -> None:
    basic = base64.b64encode(f"mediana:{UPSTREAM}".encode()).decode()
    async with served(guarded()) as (client, _):
        response = await client.post("/v1/chatwoot/other", json=MESSAGE, headers={"Authorization": f"Basic {basic}"})
        assert response.status == 200


async def test_where_a_secret_is_known_the_webhook_must_be_signed_with_it() -> None:
    body = json.dumps(MESSAGE).encode()
    good = hmac.new(SECRET.encode(), b"1700000000." + body, hashlib.sha256).hexdigest()
    async with served(guarded()) as (client, sender):
        for signature, timestamp, status in (
            (f"sha256={good}", "1700000000", 200),
            (f"sha256={good}", "1700000001", 401),
            (good, "1700000000", 401),
            ("sha256=é", "1700000000", 401),
        ):
            headers = {**JSON, "X-Chatwoot-Signature": signature, "X-Chatwoot-Timestamp": timestamp}
            response = await client.post("/v1/chatwoot/acme", data=body, headers=headers)
            assert response.status == status
        response = await client.post("/v1/chatwoot/acme", data=body, headers={**JSON, **bearer(TOKEN)})
        assert (response.status, (await response.json())["error"]["code"]) == (401, "bad_signature")
    assert len(sender.records) == 1


def test_it_does_not_start_beyond_loopback_without_tokens(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert ingest.run(Config(ingest_host="0.0.0.0")) == 2
    assert "MEDIANA_INGEST_TOKENS_FILE" in capsys.readouterr().err
    assert ingest.run(Config(ingest_tokens_file=tmp_path / "none.toml")) == 2
    assert "none.toml" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["acme = 3", "acme = ['short']", "acme = [3]", "acme ="])
def test_a_secrets_file_that_is_wrong_is_refused_without_repeating_it(content: str, tmp_path: Path) -> None:
    file = tmp_path / "secrets.toml"
    file.write_text(content)
    with pytest.raises(TokensFileError) as caught:
        read_secrets_file(file)
    assert "short" not in str(caught.value)


def test_access_is_read_from_the_files_of_the_settings(tmp_path: Path) -> None:
    tokens, secrets = tmp_path / "tokens.json", tmp_path / "secrets.toml"
    tokens.write_text(json.dumps(TOKENS))
    secrets.write_text(f'acme = ["{SECRET}"]')
    access = IngestAccess.of(Config(ingest_tokens_file=tokens, ingest_chatwoot_secrets_file=secrets))
    assert access.accounts(f"Bearer {TOKEN}") == {"acme"}
    assert access.accounts(f"bearer  {UPSTREAM}") == {"*"}
    assert access.accounts(None) == frozenset()
    assert access.is_signed("acme")
    assert not access.is_signed("other")


def test_secrets_that_change_are_followed_and_ones_that_break_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now, file = [0.0], tmp_path / "secrets.toml"
    file.write_text(f'acme = ["{SECRET}"]')
    followed = FollowedFile(file, read_secrets_file, "secrets", lambda: now[0])
    access = IngestAccess(Access(TOKENS), lambda: followed.content)
    assert access.is_signed("acme")
    file.write_text(f'other = ["{SECRET}"]')
    assert access.is_signed("acme"), "it looks once a second"
    now[0] += 1
    assert (access.is_signed("acme"), access.is_signed("other")) == (False, True)
    file.write_text("other = 3")
    now[0] += 1
    assert access.is_signed("other")
    assert "the secrets read before stay in force" in caplog.text


# --- bounds of a request ----------------------------------------------------------------------------------------------

SHORTEST = b'{"id":"1","type":"contact.deleted","account_id":"a","contact_id":"c","occurred_at":"2026-01-01T00:00:00Z"}'


def test_a_body_of_the_shortest_events_holds_no_more_than_a_request_may() -> None:
    fit = (MAX_BODY_BYTES - 1) // (len(SHORTEST) + 1)
    assert len(split_body(b"[" + b",".join([SHORTEST] * fit) + b"]")) == fit < MAX_REQUEST_EVENTS


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"0," * (MAX_BODY_BYTES // 2 - 2) + b"0]",
        b"[" + b",".join([b"{}"] * (MAX_REQUEST_EVENTS + 1)) + b"]",
        b"{}" + b"\n0" * MAX_REQUEST_EVENTS,
        b"{}" + b"\r{}" * MAX_REQUEST_EVENTS,
    ],
)
async def test_a_body_of_too_many_events_is_refused_whole_before_any_is_looked_at(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[bytes] = []
    monkeypatch.setattr("streams.ingest.body.decode_event", looked_at.append)
    async with served() as (client, sender):
        response = await client.post("/v1/events", data=body, headers=JSON)
        answer = await response.read()
    assert (response.status, json.loads(answer)["error"]["code"]) == (413, "too_many_events")
    assert len(answer) < 1000
    assert (looked_at, sender.records) == ([], [])


async def test_a_body_with_too_many_bad_events_is_given_up_and_none_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0
    decode = decode_event

    def counted(raw: bytes) -> Event:
        nonlocal looked_at
        looked_at += 1
        return decode(raw)

    monkeypatch.setattr("streams.ingest.body.decode_event", counted)
    registry = CollectorRegistry()
    body = [EVENT, *([0] * (MAX_REJECTIONS + 500)), EVENT]
    async with served(registry=registry) as (client, sender):
        response = await client.post("/v1/events", json=body)
        answer = await response.json()
    assert (response.status, answer["error"]["code"]) == (400, "too_many_rejected")
    assert (answer["accepted"], [one["index"] for one in answer["rejected"]]) == (0, list(range(1, MAX_REJECTIONS + 1)))
    assert sender.records == []
    assert looked_at == 1 + MAX_REJECTIONS + 1
    assert registry.get_sample_value("mediana_ingest_events_refused_total", {"reason": "malformed"}) == MAX_REJECTIONS


async def test_exactly_as_many_bad_events_as_may_be_are_listed_and_the_others_taken() -> None:
    async with served() as (client, sender):
        response = await client.post("/v1/events", json=[*([0] * MAX_REJECTIONS), EVENT])
        assert (response.status, len((await response.json())["rejected"])) == (207, MAX_REJECTIONS)
    assert len(sender.records) == 1


async def test_what_is_said_about_an_event_does_not_repeat_all_of_it() -> None:
    bad = {**EVENT, "id": "\u0001" * 1000, "channel": "\u0001" * 900}
    async with served() as (client, _):
        response = await client.post("/v1/events", data=io.BytesIO(json.dumps([bad] * 50).encode()), headers=JSON)
        answer = await response.read()
    assert response.status == 400
    assert len(answer) < 50 * 6 * (MAX_ID_LENGTH + MAX_REJECTION_DETAIL + 50)


async def test_others_are_answered_while_a_long_body_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []
    decode = decode_event

    def counted(raw: bytes) -> Event:
        looked_at.append(0)
        return decode(raw)

    monkeypatch.setattr("streams.ingest.body.decode_event", counted)
    seen: list[int] = []

    async def watch() -> None:
        while True:
            seen.append(len(looked_at))
            await asyncio.sleep(0)

    async with served() as (client, sender):
        watching = asyncio.create_task(watch())
        body = b"[" + b",".join([json.dumps(EVENT).encode()] * 4000) + b"]"
        assert (await client.post("/v1/events", data=body, headers=JSON)).status == 200
        watching.cancel()
    steps = [later - sooner for sooner, later in itertools.pairwise(seen)]
    assert max(steps) <= JUDGED_AT_ONCE
    assert len(sender.records) == 4000


_SHRED = st.sampled_from(
    [
        *(b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\n", b"\r", b"\x00", b"\xff", b"\xc2\x85"),
        *(b"0", b"1e999", b"null", b'"id"', b'{"id":', b'{"type":"message.eaten"}', b"\\ud800", b"[[[[[[[["),
        *(json.dumps(EVENT).encode(), SHORTEST),
    ]
)


@given(st.lists(st.tuples(_SHRED, st.integers(1, 300)), max_size=60))
@settings(deadline=None, max_examples=150)
def test_a_body_of_garbage_is_refused_or_split_within_bounds(shreds: list[tuple[bytes, int]]) -> None:
    body = b"".join(shred * times for shred, times in shreds)[:MAX_BODY_BYTES]
    try:
        raw_events = split_body(body)
    except (InvalidBody, TooManyEvents):
        return
    assert len(raw_events) <= MAX_REQUEST_EVENTS
    judged = Judged([], [])
    with contextlib.suppress(TooManyRejected):
        for _ in judge(raw_events, round(NOW.timestamp() * 1000), lambda _: True, judged):
            pass
        assert len(judged.events) + len(judged.rejected) == len(raw_events)
    assert len(judged.rejected) <= MAX_REJECTIONS
    assert all(len(one.detail) <= MAX_REJECTION_DETAIL for one in judged.rejected)
    msgspec.json.encode(judged.rejected)
