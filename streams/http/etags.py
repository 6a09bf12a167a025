"""ETags: a client that already has the answer gets 304."""

import hashlib

from aiohttp import web

COMPRESSED_AT_ONCE_BYTES = 64 * 1024
"""What is longer is compressed in a thread, so that others are answered meanwhile."""


def is_known(request: web.Request, tag: str) -> bool:
    """Whether the caller has the answer of that tag."""
    return any(known.value in (tag, "*") for known in request.if_none_match or ())


def tag_of(body: bytes) -> str:
    """A tag for an answer that belongs to no revision: a digest of its content."""
    return hashlib.sha256(body).hexdigest()[:16]


def tagged(request: web.Request, tag: str, body: bytes, content_type: str = "application/json") -> web.Response:
    """The body under its tag, or 304 if the caller has it already."""
    if is_known(request, tag):
        response = web.Response(status=304)
    else:
        charset = "utf-8" if content_type.startswith("text/") else None
        response = web.Response(
            body=body, content_type=content_type, charset=charset, zlib_executor_size=COMPRESSED_AT_ONCE_BYTES
        )
        response.enable_compression()
    put_tag(response, tag)
    return response


def put_tag(response: web.StreamResponse, tag: str) -> None:
    """Give an answer its tag, and the rules of keeping that go with it."""
    response.etag = tag
    # Ask again each time (the tag makes that cheap), and keep no copy where other people's requests pass.
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Vary"] = "Authorization, Accept-Encoding"
