"""Access log of the HTTP servers, without secrets and personal data."""

import logging

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.log import server_logger


class AccessLogger(AbstractAccessLogger):
    """One line per answer: `ADDRESS "GET /path" STATUS BYTES SECONDS`.

    No query string: it has filters, and whatever somebody puts there by mistake, such as a token. No header either.
    The path is as it was sent, percent-encoded, so that no line can be made to look like two.
    """

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Called by aiohttp once an answer, or a stream, is over. `time` is how long it took, in seconds."""
        path = request.rel_url.raw_path
        self.logger.info(
            '%s "%s %s" %d %d %.3f', request.remote, request.method, path, response.status, response.body_length, time
        )


class _Unreadable(logging.Filter):
    """Says that a request could not be read, without repeating it.

    aiohttp logs the line at fault with a traceback, and that line may be the header with the token.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(error, HttpProcessingError):
            record.msg, record.args = "%s: not a request that can be read", (type(error).__name__,)
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


_UNREADABLE = _Unreadable()


def keep_requests_out_of_the_log() -> None:
    """Let the web server's own log repeat nothing of what it was sent. Needed once a process."""
    server_logger.addFilter(_UNREADABLE)
