"""The access log: who asked for which path and how it went, and nothing that may be a secret or a person."""

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger


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
