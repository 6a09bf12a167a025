"""The page's shell and its files. The shell holds no data: the page reads the JSON API, under the caller's token."""

from pathlib import Path
from string import Template

from aiohttp import web

LANGUAGES = ("en", "es", "pt")
"""The languages of the page, one dictionary each in static/words/; the first is the default."""

_FOLDER = Path(__file__).parent
_SHELL = web.AppKey("shell", Template)


def add_page(app: web.Application) -> None:
    """Add the page at `/` and its files under `/static/` to an application."""
    app[_SHELL] = Template((_FOLDER / "page.html").read_text(encoding="utf-8"))
    app.router.add_get("/", page)
    app.router.add_static("/static/", _FOLDER / "static")


async def page(request: web.Request) -> web.Response:
    """The shell in the language of `?lang=`, else the browser's; the rest of the query is for the page's script."""
    language = choose_language(request.query.get("lang"), request.headers.get("Accept-Language", ""))
    response = web.Response(text=request.app[_SHELL].substitute(language=language), content_type="text/html")
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Vary"] = "Accept-Language"
    return response


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
