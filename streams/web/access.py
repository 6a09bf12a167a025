"""Who may read which account: bearer tokens, of which only SHA-256 digests are kept.

A tokens file maps an account to the digests of its tokens, as TOML or, if it is named `*.json`, as JSON:

    acme = ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
"""

import hashlib
import hmac
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

_DIGEST = re.compile(r"^[0-9a-f]{64}$")


class TokensFileError(ValueError):
    """The tokens file cannot be read or is no map of accounts to digests; its text says what to mend."""


class Access:
    """The accounts each token opens; without tokens, every account is open to whoever reaches the server."""

    def __init__(self, digests: Mapping[str, Sequence[str]] | None = None) -> None:
        self._digests = None if digests is None else {account: tuple(known) for account, known in digests.items()}

    @property
    def needs_token(self) -> bool:
        """Whether a request must carry a token."""
        return self._digests is not None

    def opened_by(self, token: str) -> frozenset[str]:
        """The accounts this token opens: none for an unknown token.

        Every digest is compared, each in constant time, so that how long it takes tells nothing about the tokens.
        """
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        accounts = set()
        for account, known in (self._digests or {}).items():
            if sum([hmac.compare_digest(digest, one) for one in known]):
                accounts.add(account)
        return frozenset(accounts)


def read_tokens_file(path: Path) -> Access:
    """The access a tokens file grants. Raises `TokensFileError`, which never repeats what the file holds."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise TokensFileError(f"cannot read the tokens file {path}: {error.strerror or 'no such file'}") from None
    except ValueError:
        raise TokensFileError(f"the tokens file {path} is neither TOML nor, if it is named *.json, JSON") from None
    if not isinstance(content, dict):
        raise TokensFileError(f"the tokens file {path} must map accounts to lists of SHA-256 digests")
    for account, digests in content.items():
        if not isinstance(digests, list) or not all(isinstance(one, str) and _DIGEST.match(one) for one in digests):
            raise TokensFileError(
                f"the tokens file {path}: {account!r} must be a list of SHA-256 digests, 64 lower-case hex digits each"
            )
    return Access(content)
