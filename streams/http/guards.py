"""Security headers, and requests that are refused whatever the route."""

import ipaddress

from aiohttp import web

from streams.http.errors import ApiError, Handler

SECURITY_HEADERS = {
    # Only what this server itself sends is loaded, and only this server is spoken to.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Refused(ValueError):
    """A program cannot start with these settings; the text says why, and what to do."""


async def add_security_headers(_: web.Request, response: web.StreamResponse) -> None:
    """An `on_response_prepare` signal: every response, errors and files included, carries the headers."""
    response.headers.update(SECURITY_HEADERS)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine alone; an empty one binds everything and is not."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@web.middleware
async def refuse_foreign_hosts(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer only requests addressed to this machine by a loopback name.

    For a server without tokens on loopback: else any web site could point a name of its own at 127.0.0.1 and read
    the reports through its visitor's browser (DNS rebinding).
    """
    if request.path != "/healthz" and not is_loopback(request.url.host or ""):
        raise ApiError(
            403,
            "foreign_host",
            "This server answers only requests addressed to this machine.",
            "Set MEDIANA_HTTP_TOKENS_FILE, or MEDIANA_HTTP_OPEN=true if everyone who reaches it may read all.",
        )
    return await handler(request)
