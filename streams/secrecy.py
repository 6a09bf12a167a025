"""Secrets, and keeping them out of whatever is printed: all the forms in which a text may show one.

A password has no alphabet. Percent signs, quotes, line breaks and letters beyond ASCII are written in other ways by
whoever prints them: escaped in a `repr`, as bytes, in JSON, percent-encoded in an address. `Hider` looks for each of
these forms.
"""

import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, quote, quote_plus, unquote, unquote_plus, urlsplit

HIDDEN = "***"

LEAST_SECRET = 4
"""Shorter ones are not looked for: a password `a` would make every line unreadable, and hides nothing."""

_SECRET_NAME = re.compile(r"MEDIANA_.*(PASSWORD|SECRET|TOKEN)$")
_URL_NAME = "MEDIANA_REDIS_URL"


class Hider:
    """Puts `***` where a text would show one of `secrets`, in any of its forms."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        shown = {form for secret in secrets if len(secret) >= LEAST_SECRET for form in forms(secret)}
        # A secret that begins with another one is looked for first, or its end would stay.
        self._forms = sorted((form for form in shown if len(form) >= LEAST_SECRET), key=len, reverse=True)

    def clean(self, text: str) -> str:
        """The text without secrets."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, HIDDEN)
        return text


def forms(secret: str) -> set[str]:
    """How a secret may be written: as it is, escaped as Python and JSON do, as bytes, percent-encoded."""
    data = secret.encode("utf-8", "surrogatepass")
    found = {
        secret,
        secret.strip(),
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
        repr(data)[2:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(data, safe=""),
        quote(data),
        quote_plus(data),
        secret.encode("unicode_escape", "surrogatepass").decode(),
        # What parsers of addresses leave of it.
        secret.translate({9: None, 10: None, 13: None}),
        *secret.splitlines(),
    }
    # Which quotes a `repr` escapes depends on what else stands beside the secret.
    for text in list(found):
        plain = text.replace("\\'", "'").replace('\\"', '"')
        found |= {plain, plain.replace("'", "\\'"), plain.replace('"', '\\"')}
    # A `repr` of a `repr`, and percent signs in lower case.
    found |= {text.replace("\\", "\\\\") for text in list(found)}
    return found | {re.sub("%[0-9A-F]{2}", lambda code: code[0].lower(), text) for text in found}


def url_secrets(url: str) -> set[str]:
    """What is secret in an address: its password, as written and as meant, also one that was not escaped."""
    found = set[str]()
    # Up to the last `@`, whatever stands in between: `/`, `#` and `?` belong to a password that nobody escaped.
    user, at, _ = url.partition("://")[2].rpartition("@")
    if at:
        password = user.partition(":")[2] or user
        found |= {password, unquote(password)}
        found |= {part for part in re.split(r"[/?#@:\[\]\s]", password) if len(part) >= LEAST_SECRET}
    try:
        parts = urlsplit(url)
        if parts.password:
            found |= {parts.password, unquote(parts.password)}
        query = parts.query
    except ValueError:
        query = url.partition("?")[2]
    for name, value in parse_qsl(query, keep_blank_values=True):
        if "password" in name.lower() or "secret" in name.lower() or "token" in name.lower():
            found |= {value, quote(value, safe=""), unquote_plus(value)}
    return {text for text in found if text}


def environment_secrets(environ: Mapping[str, str]) -> set[str]:
    """What is secret in an environment, known before any setting is read."""
    found = {value for name, value in environ.items() if _SECRET_NAME.match(name) and value}
    return found | url_secrets(environ.get(_URL_NAME, ""))


_MASKED_URL = re.compile(r"([a-z]+://)[^\s]*@", re.IGNORECASE)


def without_userinfo(text: str) -> str:
    """A text in which no address shows a user or password."""
    return _MASKED_URL.sub(rf"\g<1>{HIDDEN}@", text)


_PLACE = re.compile(r"\(at [^()]*\)$")


def toml_problem(error: Exception) -> str:
    """Where a TOML file cannot be read, without the character that stands there: it may be a password's."""
    found = _PLACE.search(str(error))
    return "is not TOML" if found is None else f"is not TOML {found[0]}"
