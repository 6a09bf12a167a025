"""Server-sent events: a client that listens is told of each new revision, and asks for the numbers it wants."""

import msgspec
from aiohttp import web

from streams.http.authorization import authorize, authorized_account
from streams.http.errors import ApiError, lift_deadline
from streams.http.metrics import EVENT_STREAM
from streams.snapshots.reader import Newest, NoReport
from streams.web.query import refuse_parameters
from streams.web.reader_protocol import READER
from streams.web.revisions import REVISIONS, Account

KEEP_ALIVE_SECONDS = 15.0
"""Between comments on a quiet stream: proxies cut silent connections, often after 30 or 60 seconds."""

RETRY_MS = 5_000
"""How long a client waits before it comes back."""


async def events(request: web.Request) -> web.StreamResponse:
    """A stream of `revision` events: the newest at once, unless `Last-Event-ID` says it is known, then each new one."""
    account_id = authorized_account(request)
    refuse_parameters(request, "The stream takes none.")
    newest = await request.app[READER].newest(account_id)
    if newest is None:
        raise NoReport(account_id)
    async with request.app[REVISIONS].listening(account_id, newest) as account:
        response = web.StreamResponse()
        response.content_type = EVENT_STREAM
        response.charset = "utf-8"
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back until it has a page full of them
        try:
            await response.prepare(request)
            lift_deadline()
            await _tell(request, response, account)
        except ConnectionError:
            pass  # the client left, which is how streams end
        return response


async def _tell(request: web.Request, response: web.StreamResponse, account: Account) -> None:
    known = request.headers.get("Last-Event-ID")
    await response.write(b"retry: %d\n\n" % RETRY_MS)
    while not account.is_over:
        newest = account.newest
        if newest is not None and str(newest.revision) != known:
            known = str(newest.revision)
            await response.write(encode_event(newest))
        elif not await account.changes_within(KEEP_ALIVE_SECONDS):
            await response.write(b": listening\n\n")
        if not _still_opens(request, account.account_id):
            return


def _still_opens(request: web.Request, account_id: str) -> bool:
    """Whether the token was not revoked since the stream began."""
    try:
        authorize(request, account_id)
    except ApiError:
        return False
    return True


def encode_event(newest: Newest) -> bytes:
    """One event of the stream, as the HTML standard frames them."""
    return b"id: %d\nevent: revision\ndata: %s\n\n" % (newest.revision, msgspec.json.encode(newest))
