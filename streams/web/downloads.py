"""Lists as CSV files, sent while they are made: some thousand rows are in memory at a time, however many there are."""

import asyncio
import csv
import io
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from aiohttp import web

from streams.http.errors import ApiError, lift_deadline
from streams.http.etags import put_tag
from streams.snapshots.reader import ListPage, WholeList
from streams.web.csv import safe_row
from streams.web.lists_csv import cells

logger = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 1024

PAGE_ROWS = 5_000
"""Rows that are made at once: others are answered between two such pages."""

AT_ONCE = 8
"""Downloads one process sends at a time: each keeps it busy, and pages and programs want their answers meanwhile."""

DOWNLOAD_SECONDS = 540.0
"""A download that takes longer is cut off: its rows take memory."""

PATIENCE_SECONDS = 30.0
"""How long a client may leave a chunk unread before it is given up."""


class Downloads:
    """How many are under way."""

    def __init__(self) -> None:
        self.open = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a place. Raises `ApiError` (503) when all are taken."""
        if self.open >= AT_ONCE:
            raise ApiError(
                503,
                "too_many_downloads",
                f"{AT_ONCE} files of rows are being sent already.",
                "Wait as long as Retry-After says, and ask for one file at a time.",
                retry_after_seconds=10,
            )
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


DOWNLOADS = web.AppKey("downloads", Downloads)


async def send_rows(
    request: web.Request, columns: tuple[str, ...], rows: WholeList, tag: str, file: str
) -> web.StreamResponse:
    """Answer with the rows as a file of that name.

    What fails before the first byte is an error like any other (it is raised). What fails later, or takes too long,
    breaks the connection: the file then ends without the mark that HTTP puts at the end, so no client takes half of it
    for the whole.
    """
    chunks = csv_chunks(columns, rows)
    with request.app[DOWNLOADS].one():
        first = await anext(chunks)
        response = web.StreamResponse()
        response.content_type, response.charset = "text/csv", "utf-8"
        if request.method != "HEAD":
            response.enable_compression()  # which would send the end of an empty file, even to a HEAD
        put_tag(response, tag)
        response.headers["Content-Disposition"] = f'attachment; filename="{file}"'
        try:
            await response.prepare(request)
            if request.method == "HEAD":
                return response
            lift_deadline()
            async with asyncio.timeout(DOWNLOAD_SECONDS):
                await _write(response, first)
                async for chunk in chunks:
                    await _write(response, chunk)
        except ConnectionError:
            pass  # the client left
        except Exception as error:  # noqa: BLE001 - whatever it is, half of the file is sent: no answer can follow
            logger.warning("%s: the file was broken off: %r", request.rel_url.raw_path, error)
            if request.transport is not None:
                request.transport.abort()
        return response


async def _write(response: web.StreamResponse, chunk: bytes) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await response.write(chunk)
    await asyncio.sleep(0)  # a client that reads fast must not keep the others from being answered


async def csv_chunks(columns: tuple[str, ...], rows: WholeList) -> AsyncIterator[bytes]:
    """The bytes of the CSV file, in pieces of about `CHUNK_BYTES`; the first comes once the first rows are made."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    offset = 0
    while True:
        page: ListPage = rows.page(offset, PAGE_ROWS)
        for row in page.rows:
            writer.writerow(safe_row(cells(columns, row)))
            if out.tell() >= CHUNK_BYTES:
                yield out.getvalue().encode()
                out.seek(0)
                out.truncate()
        offset += len(page.rows)
        if not page.rows or offset >= page.total:
            break
    yield out.getvalue().encode()
