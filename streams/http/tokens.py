"""Bearer tokens: which accounts each may read; only SHA-256 digests are kept.

A tokens file maps an account to the digests of its tokens, as TOML or, if it is named `*.json`, as JSON:

    acme = ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]

`mediana token` writes such files (`streams.cli.tokens`), and a running server follows them.
"""

import hashlib
import hmac
import json
import logging
import re
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often at most a server looks whether such a file changed."""

Content = TypeVar("Content")

Digests = dict[str, list[str]]
"""Account → the SHA-256 digests of its tokens, in hexadecimal."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


class TokensFileError(ValueError):
    """The tokens file cannot be read or is no map of accounts to digests; its text says what to mend."""


class Access:
    """The accounts each token opens; without tokens, every account is open to whoever reaches the server."""

    def __init__(self, digests: Mapping[str, Sequence[str]] | None = None) -> None:
        self._digests: Mapping[str, Sequence[str]] | None = digests

    @property
    def needs_token(self) -> bool:
        """Whether a request must carry a token."""
        return self._digests is not None

    def opened_by(self, token: str) -> frozenset[str]:
        """The accounts this token opens: none for an unknown token.

        Every digest is compared, each in constant time, so that how long it takes tells nothing about the tokens.
        """
        digest = digest_of(token)
        accounts = set()
        for account, known in (self._digests or {}).items():
            if sum([hmac.compare_digest(digest, one) for one in known]):
                accounts.add(account)
        return frozenset(accounts)


class FollowedFile(Generic[Content]):
    """What a file holds, as it is now: a change counts within `LOOK_SECONDS`, without a restart.

    `read` makes the content of the file and raises `TokensFileError`; so does making this of a file that is none. One
    that becomes unreadable later changes nothing: what was read last stays in force, and the log says why. `what` names
    the content in the log, `clock` gives seconds.
    """

    def __init__(
        self, path: Path, read: Callable[[Path], Content], what: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._read, self._what, self._clock = path, read, what, clock
        # The stamp first: what is written between the two is then read again.
        self._looked, self._stamp = clock(), _stamp(path)
        self._content = read(path)

    @property
    def content(self) -> Content:
        """What the file held at most `LOOK_SECONDS` ago."""
        if self._clock() - self._looked >= LOOK_SECONDS:
            self._look()
        return self._content

    def _look(self) -> None:
        self._looked = self._clock()
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._content = self._read(self._path)
        except TokensFileError as error:
            logger.error("%s; the %s read before stay in force", error, self._what)  # noqa: TRY400 - it says it all
        else:
            logger.info("the %s file %s changed and was read again", self._what, self._path)


class FileAccess(Access):
    """The access of a tokens file, followed while it changes (`FollowedFile`)."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = FollowedFile(path, read_digests, "tokens", clock)
        super().__init__(self._file.content)

    def opened_by(self, token: str) -> frozenset[str]:
        """The accounts this token opens, by the file as it was at most `LOOK_SECONDS` ago."""
        self._digests = self._file.content
        return super().opened_by(token)


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when a file is written or replaced; nothing for a file that is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def digest_of(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def read_account_lists(path: Path, what: str, listed: str) -> dict[str, Any]:
    """A TOML or JSON file that maps accounts to lists, which the caller checks.

    `what` names the file and `listed` its content in the messages. Raises `TokensFileError`, which never repeats it.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise TokensFileError(f"cannot read the {what} file {path}: {error.strerror or 'no such file'}") from None
    except ValueError:
        raise TokensFileError(f"the {what} file {path} is neither TOML nor, if it is named *.json, JSON") from None
    if not isinstance(content, dict):
        raise TokensFileError(f"the {what} file {path} must map accounts to lists of {listed}")
    return content


def read_digests(path: Path) -> Digests:
    """What a tokens file holds. Raises `TokensFileError`, which never repeats it."""
    content = read_account_lists(path, "tokens", "SHA-256 digests")
    for account, digests in content.items():
        if not isinstance(digests, list) or not all(isinstance(one, str) and _DIGEST.fullmatch(one) for one in digests):
            raise TokensFileError(
                f"the tokens file {path}: {account!r} must be a list of SHA-256 digests, 64 lower-case hex digits each"
            )
    return content
