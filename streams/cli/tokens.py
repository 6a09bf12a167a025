"""`mediana token`: creates, lists and revokes tokens of a tokens file.

A token is 256 random bits and is shown once, when it is made. The file is replaced as a whole, readable by its owner
only, so a running server sees the old one or the new one. `ingest` reads files of the same form.
"""

import contextlib
import fcntl
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from streams.config import Config
from streams.http.tokens import Digests, TokensFileError, digest_of, read_digests

TOKEN_BYTES = 32
ID_DIGITS = 12
"""A token goes by the first digits of its digest: 48 bits tell tokens apart and are of no use to a thief."""


class TokenError(ValueError):
    """A token cannot be made or revoked; its text says why."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do: `create` one of an account, `list` them, or `revoke` one by its id or all of an account."""

    action: str
    account_id: str | None = None
    token_id: str | None = None
    file: Path | None = None


def run(config: Config, plan: Plan) -> int:
    """Do it, and print the result as JSON. Returns the exit status. Raises `TokenError` and `TokensFileError`."""
    file = plan.file or config.http_tokens_file
    if file is None:
        raise TokenError("which file? Name it with --file, or in MEDIANA_HTTP_TOKENS_FILE")
    if plan.action == "create":
        answer = create(file, plan.account_id or "")
    elif plan.action == "revoke":
        answer = {"file": str(file), "revoked": revoke(file, plan.account_id, plan.token_id)}
    else:
        answer = {"file": str(file), "tokens": _shown(read_digests(file), plan.account_id)}
    json.dump(answer, sys.stdout, ensure_ascii=False, indent=2)
    print()
    return 0


def create(file: Path, account_id: str) -> dict[str, object]:
    """Add a new token of an account to the file, which is made if there is none. The answer holds the token."""
    if not 0 < len(account_id) <= 256 or not account_id.isprintable():
        raise TokenError("an account's name has 1 to 256 characters, none of which is invisible")
    token = secrets.token_urlsafe(TOKEN_BYTES)
    digest = digest_of(token)
    with _changing(file) as digests:
        digests.setdefault(account_id, []).append(digest)
    return {"account_id": account_id, "id": digest[:ID_DIGITS], "token": token, "file": str(file)}


def revoke(file: Path, account_id: str | None, token_id: str | None) -> list[dict[str, str]]:
    """Take tokens out of the file: those of an account, or with an id, or both. Raises `TokenError` if there is none.

    An account keeps its place in the file without tokens: a file without any would be no mistake, but look like one.
    """
    with _changing(file) as digests:
        gone = [one for one in _shown(digests, account_id) if token_id in (None, one["id"])]
        if not gone:
            raise TokenError(f"no such token in {file}; 'mediana token list' shows those there are")
        for one in gone:
            account = one["account_id"]
            digests[account] = [digest for digest in digests[account] if not digest.startswith(one["id"])]
    return gone


def _shown(digests: Digests, account_id: str | None) -> list[dict[str, str]]:
    """The tokens, never their digests: with those at hand, guesses could be tried without the server."""
    return [
        {"account_id": account, "id": digest[:ID_DIGITS]}
        for account, known in digests.items()
        if account_id in (None, account)
        for digest in known
    ]


@contextlib.contextmanager
def _changing(file: Path) -> Iterator[Digests]:
    """The file's content, to be changed, and written when the block ends well. Two commands take turns."""
    file = Path(os.path.realpath(file))  # a link stays one, and its target is replaced
    try:
        folder = os.open(file.parent, os.O_RDONLY)
    except OSError as error:
        raise TokensFileError(f"cannot open the folder of the tokens file {file}: {error.strerror}") from None
    try:
        # The folder, not the file: the file is another one after each change.
        fcntl.flock(folder, fcntl.LOCK_EX)
        digests = read_digests(file) if file.exists() else {}
        yield digests
        _replace(file, _json(digests) if file.suffix == ".json" else _toml(digests))
        os.fsync(folder)
    finally:
        os.close(folder)


def _replace(file: Path, text: str) -> None:
    try:
        # Made with mode 0600.
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    except OSError as error:
        raise TokensFileError(f"cannot write the tokens file {file}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _json(digests: Digests) -> str:
    return json.dumps(digests, indent=2, ensure_ascii=False) + "\n"


def _toml(digests: Digests) -> str:
    # A JSON text is a TOML text too, as long as nothing needs a surrogate pair; `ensure_ascii` would write those.
    lines = ["# Written by `mediana token`. Accounts, and the SHA-256 digests of their tokens.\n"]
    for account, known in digests.items():
        listed = ", ".join(json.dumps(digest) for digest in known)
        lines.append(f"{json.dumps(account, ensure_ascii=False)} = [{listed}]\n")
    return "".join(lines)
