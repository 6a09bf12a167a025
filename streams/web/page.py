"""The page's shell and its files. The shell holds no data: the page reads the JSON API, under the caller's token."""

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import NamedTuple

from aiohttp import web

from streams.http.etags import is_known, tag_of

LANGUAGES = ("en", "es", "pt")
"""The languages of the page, one dictionary each in static/words/; the first is the default."""

_FOLDER = Path(__file__).parent
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class _File(NamedTuple):
    content: bytes
    content_type: str
    tag: str


_SHELL = web.AppKey("shell", Template)
_FILES = web.AppKey("files", Mapping[str, _File])


def add_page(app: web.Application) -> None:
    """Add the page at `/` and its files under `/static/` to an application.

    The files are few and small: they are read once, so a request names one of them or nothing, never a path.
    """
    static = _FOLDER / "static"
    app[_SHELL] = Template((_FOLDER / "page.html").read_text(encoding="utf-8"))
    app[_FILES] = {path.relative_to(static).as_posix(): _read(path) for path in static.rglob("*") if path.is_file()}
    app.router.add_get("/", page)
    app.router.add_get("/static/{name:.*}", file)


async def page(request: web.Request) -> web.Response:
    """The shell in the language of `?lang=`, else the browser's; the rest of the query is for the page's script."""
    language = choose_language(request.query.get("lang"), request.headers.get("Accept-Language", ""))
    text = request.app[_SHELL].substitute(language=language).encode()
    tag = tag_of(text)
    if is_known(request, tag):
        response = web.Response(status=304)
    else:
        response = web.Response(body=text, content_type="text/html", charset="utf-8")
        response.enable_compression()
    response.etag = tag
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Vary"] = "Accept-Language, Accept-Encoding"
    return response


async def file(request: web.Request) -> web.Response:
    """One of the page's files, tagged by its content, so that a browser asks again and is seldom sent it again."""
    found = request.app[_FILES].get(request.match_info["name"])
    if found is None:
        raise web.HTTPNotFound
    if is_known(request, found.tag):
        response = web.Response(status=304)
    else:
        response = web.Response(body=found.content, content_type=found.content_type, charset="utf-8")
        response.enable_compression()
    response.etag = found.tag
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Vary"] = "Accept-Encoding"
    return response


def _read(path: Path) -> _File:
    content = path.read_bytes()
    return _File(content, _TYPES.get(path.suffix, "text/plain"), tag_of(content))


def choose_language(asked: str | None, accepted: str) -> str:
    """One of `LANGUAGES`: the one asked for, else the best of an Accept-Language header, else the default."""
    if asked in LANGUAGES:
        return asked
    weighted = [_weighted(choice) for choice in accepted.split(",")]
    for _, name in sorted(weighted, key=lambda pair: -pair[0]):
        if name in LANGUAGES:
            return name
    return LANGUAGES[0]


def _weighted(choice: str) -> tuple[float, str]:
    """`pt-BR;q=0.8` as (0.8, "pt"); a weight that is no number counts as none."""
    tag, _, quality = choice.partition(";")
    try:
        weight = float(quality.strip().removeprefix("q=") or 1)
    except ValueError:
        weight = 0.0
    return weight, tag.strip().split("-")[0].lower()
