"""`mediana ingest`: takes events over HTTP, validates each, sends it to Kafka.

An event is accepted when every replica in sync has it, and not before: with Kafka away the answer is 503 and nothing is
claimed. The server binds loopback unless told otherwise, and beyond loopback it starts only with a tokens file.
"""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import Protocol

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry

from schemas.accounts import decode_settings
from schemas.errors import InvalidEvent, InvalidSettings
from schemas.limits import HTTP_BODY_SECONDS, MAX_BODY_BYTES, MAX_REJECTIONS, MAX_REQUEST_EVENTS
from schemas.topics import Topics, topics
from streams import logs
from streams.config import Config
from streams.http.access_log import keep_requests_out_of_the_log
from streams.http.connections import serve
from streams.http.errors import ApiError, Handler, errors_as_json
from streams.http.guards import Refused, add_security_headers, is_loopback
from streams.http.listening import cannot_listen
from streams.http.metrics import observing
from streams.ingest.access import IngestAccess, ingest_access, opens
from streams.ingest.body import (
    InvalidBody,
    Judged,
    Rejection,
    TooManyEvents,
    TooManyRejected,
    judge,
    refuse_future,
    split_body,
)
from streams.ingest.chatwoot import UnknownWebhook, map_webhook, why_nothing
from streams.ingest.errors import INGEST_FAILURES, OUTAGE
from streams.ingest.metrics import IngestMetrics
from streams.ingest.producer import NotSent, Outgoing, Sender, event_record, settings_record
from streams.ingest.room import UNPROVEN, Place, Room
from streams.logs import shown
from streams.monitoring.probes import add_probes
from streams.monitoring.server import MetricsServer
from streams.outage import Outage

logger = logging.getLogger(__name__)

CONTENT_TYPES = frozenset(
    {"application/json", "application/x-ndjson", "application/ndjson", "application/jsonl", "application/jsonlines"}
)
"""A page of another site cannot send these to a server on its visitor's machine without being allowed to first."""


class EventSender(Protocol):
    """What the service needs of `streams.ingest.producer.Sender`."""

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Return when Kafka has every record. Raises `NotSent`."""

    async def ready(self) -> str | None:
        """Why nothing can be sent now, or nothing when it can."""

    async def stop(self) -> None:
        """Disconnect."""


def create_ingest_app(
    sender: EventSender,
    access: IngestAccess,
    names: Topics | None = None,
    *,
    metrics: IngestMetrics | None = None,
    requests: int = 64,
    body_seconds: float = HTTP_BODY_SECONDS,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> web.Application:
    """The application over `sender`. At most `requests` are handled at once; more are told to come back.

    A body must be there within `body_seconds`.
    """
    keep_requests_out_of_the_log()
    metrics = metrics or IngestMetrics(CollectorRegistry())
    guards = [] if access.needs_token else [_only_loopback_names]
    app = web.Application(
        middlewares=[observing(metrics.requests), errors_as_json(INGEST_FAILURES), *guards],
        client_max_size=MAX_BODY_BYTES,
    )
    app.on_response_prepare.append(add_security_headers)
    app[OUTAGE] = Outage("Kafka", logger)
    room = Room(requests, shared=access.needs_token, body_seconds=body_seconds)
    service = _Service(sender, access, names or topics(), metrics, room, app[OUTAGE], now)
    app.router.add_post("/v1/events", service.events)
    app.router.add_put("/v1/accounts/{account_id}", service.account)
    app.router.add_post("/v1/chatwoot/{account_id}", service.chatwoot)
    add_probes(app, sender.ready)

    async def stop(_: web.Application) -> AsyncIterator[None]:
        yield
        await sender.stop()

    app.cleanup_ctx.append(stop)
    return app


def run(config: Config) -> int:
    """Serve until interrupted. Returns the exit status: 0, or 2 (with the reason on stderr) if it could not start."""
    host, port = config.ingest_host, config.ingest_port
    try:
        access = ingest_access(config)
    except Refused as error:
        return _refuse(str(error))

    async def make() -> web.Application:
        sender = Sender(config, "mediana-ingest")
        registry = CollectorRegistry()
        server = MetricsServer(registry, config.metrics_host, config.ingest_metrics_port, sender.ready)
        app = create_ingest_app(
            sender, access, config.topics, metrics=IngestMetrics(registry), requests=config.ingest_requests
        )

        async def beside(_: web.Application) -> AsyncIterator[None]:
            await server.start()
            yield
            await server.stop()

        app.cleanup_ctx.append(beside)
        return app

    logs.calm_libraries()
    logger.info("ingest: http://%s:%d", host, port)
    try:
        serve(make(), host, port)
    except OSError as error:
        return _refuse(cannot_listen(host, port, error, "MEDIANA_INGEST_PORT"))
    return 0


class _Service:
    def __init__(
        self,
        sender: EventSender,
        access: IngestAccess,
        names: Topics,
        metrics: IngestMetrics,
        room: Room,
        outage: Outage,
        now: Callable[[], datetime],
    ) -> None:
        self._sender = sender
        self._access = access
        self._topics = names
        self._metrics = metrics
        self._room = room
        self._outage = outage
        self._now = now

    async def events(self, request: web.Request) -> web.Response:
        """Take events: 200 all, 207 some, 400 none; each refused one with its place and reason."""
        accounts = self._opened(request)
        with self._room.of(accounts) as place:
            body = await _body(request, place)
            with place.handling():
                return await self._take(await self._judged(body, accounts))

    async def _judged(self, body: bytes, accounts: frozenset[str]) -> Judged:
        judged = Judged([], [])
        try:
            raw_events = split_body(body)
            now_ms = round(self._now().timestamp() * 1000)
            for _ in judge(raw_events, now_ms, lambda account_id: opens(accounts, account_id), judged):
                await asyncio.sleep(0)
        except InvalidBody as error:
            raise ApiError(
                400,
                "malformed_body",
                f"The body is neither JSON nor one JSON object per line: {error}.",
                "Send an array of events, one event, or one event per line (application/x-ndjson).",
            ) from None
        except TooManyEvents:
            raise ApiError(
                413,
                "too_many_events",
                f"The body has more than {MAX_REQUEST_EVENTS} events; none was taken.",
                "Send them in several requests.",
            ) from None
        except TooManyRejected as error:
            self._count(error.rejected)
            raise ApiError(
                400,
                "too_many_rejected",
                f"More than {MAX_REJECTIONS} events break the contract; none was taken.",
                "`rejected` has the first ones; mend what makes them, or leave them out, and send the others again.",
                beside={"accepted": 0, "rejected": msgspec.to_builtins(error.rejected)},
            ) from None
        return judged

    async def account(self, request: web.Request) -> web.Response:
        """Take an account's settings, whole."""
        account_id = request.match_info["account_id"]
        accounts = self._opened(request)
        self._require(accounts, account_id)
        with self._room.of(accounts) as place:
            body = await _body(request, place)
            with place.handling():
                return await self._set_account(account_id, body)

    async def _set_account(self, account_id: str, body: bytes) -> web.Response:
        try:
            settings = decode_settings(body)
        except InvalidSettings as error:
            raise ApiError(
                400,
                error.reason.replace("-", "_"),
                f"The settings are refused whole: {error.detail}.",
                "docs/use/events.md says what settings may hold; the account keeps those it had.",
            ) from None
        if settings.account_id != account_id:
            raise ApiError(
                400,
                "wrong_account",
                f"The address names account {account_id!r}, the settings another one.",
                "Make account_id in the body that of the address.",
            )
        await self._send([settings_record(settings, self._topics)])
        return _json({"account_id": account_id, "accepted": 1})

    async def chatwoot(self, request: web.Request) -> web.Response:
        """Take a webhook of Chatwoot: 200 also for one that means nothing here, so that it is not sent again."""
        account_id = request.match_info["account_id"]
        signed = self._access.is_signed(account_id)
        if signed:
            _require_signature(request)
        else:
            self._require(self._opened(request), account_id)
        with self._room.of(UNPROVEN if signed else account_id) as place:
            body = await _body(request, place)
            if signed:
                self._check_signature(request, account_id, body)
            with place.handling(account_id):
                return await self._take(*self._mapped(account_id, body))

    def _mapped(self, account_id: str, body: bytes) -> tuple[Judged, str | None]:
        try:
            now = self._now()
            payload = msgspec.json.decode(body)
            events = map_webhook(account_id, payload, now)
            for event in events:
                refuse_future(event, round(now.timestamp() * 1000))
            hint = None if events else why_nothing(payload)
        except (msgspec.MsgspecError, RecursionError):
            raise ApiError(400, "malformed_body", "The body is not JSON.", "Is this a webhook of Chatwoot?") from None
        except UnknownWebhook as error:
            raise ApiError(
                400,
                "unknown_webhook",
                f"{error.detail}.",
                "docs/use/bring-your-own-data.md lists the webhooks that are read; subscribe to those.",
            ) from None
        except InvalidEvent as error:
            raise ApiError(
                400, "malformed_webhook", f"No event can be made of this webhook: {error.detail}.", "Is it Chatwoot's?"
            ) from None
        return Judged(events, []), hint

    async def _take(self, judged: Judged, hint: str | None = None) -> web.Response:
        if judged.events:
            await self._send([event_record(event, self._topics) for event in judged.events])
            self._metrics.accepted.inc(len(judged.events))
        self._count(judged.rejected)
        rejected = msgspec.to_builtins(judged.rejected)
        if rejected and not judged.events:
            raise ApiError(
                400,
                "no_event_accepted",
                "No event keeps the contract.",
                "`rejected` says why; docs/use/events.md has it.",
                beside={"accepted": 0, "rejected": rejected},
            )
        answer: dict[str, object] = {"accepted": len(judged.events), "rejected": rejected}
        if hint is not None:
            answer["hint"] = hint
        return _json(answer, 207 if rejected else 200)

    def _count(self, rejected: Sequence[Rejection]) -> None:
        for rejection in rejected:
            self._metrics.refused.labels(rejection.reason).inc()

    async def _send(self, records: Sequence[Outgoing]) -> None:
        started = perf_counter()
        try:
            await self._sender.send(records)
        except NotSent:
            self._metrics.produce_failures.inc()
            raise
        self._outage.answered()
        self._metrics.produce_seconds.observe(perf_counter() - started)

    def _opened(self, request: web.Request) -> frozenset[str]:
        accounts = self._access.accounts(request.headers.get("Authorization"))
        if not accounts:
            raise ApiError(
                401,
                "unauthorized",
                "The request has no token that opens an account.",
                "Send the header 'Authorization: Bearer TOKEN' with a token of the tokens file.",
            )
        return accounts

    def _require(self, accounts: frozenset[str], account_id: str) -> None:
        if not opens(accounts, account_id):
            raise ApiError(
                403,
                "forbidden",
                "The token does not open this account.",
                "Use the account's own token, or its right name.",
            )

    def _check_signature(self, request: web.Request, account_id: str, body: bytes) -> None:
        timestamp = request.headers.get("X-Chatwoot-Timestamp", "")
        signature = request.headers.get("X-Chatwoot-Signature", "")
        if not self._access.signature_fits(account_id, timestamp, body, signature):
            raise _bad_signature()


def _require_signature(request: web.Request) -> None:
    """Refuse, before its body is read, a webhook that has no signature at all."""
    if not request.headers.get("X-Chatwoot-Signature"):
        raise _bad_signature()


def _bad_signature() -> ApiError:
    return ApiError(
        401,
        "bad_signature",
        "The webhook is not signed with a secret of this account.",
        "Compare the webhook's secret in Chatwoot with MEDIANA_INGEST_CHATWOOT_SECRETS_FILE.",
    )


@web.middleware
async def _only_loopback_names(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Without tokens, answer only requests that name this machine: else any web site could give 127.0.0.1 a name of
    its own and write through its visitor's browser (DNS rebinding)."""
    if not is_loopback(request.url.host or ""):
        raise ApiError(
            403,
            "foreign_host",
            "This server answers only requests addressed to this machine.",
            "Set MEDIANA_INGEST_TOKENS_FILE to let others in.",
        )
    return await handler(request)


async def _body(request: web.Request, place: Place) -> bytes:
    if request.content_type not in CONTENT_TYPES:
        raise ApiError(
            415,
            "unsupported_content_type",
            f"The body is said to be {request.content_type}.",
            "Send the header 'Content-Type: application/json' or 'application/x-ndjson'.",
        )
    return await place.body(request)


def _json(body: object, status: int = 200) -> web.Response:
    response = web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def _refuse(reason: str) -> int:
    print(shown(f"mediana ingest: {reason}"), file=sys.stderr)
    return 2
