"""Who may send events of which account: bearer tokens, and the signatures of Chatwoot's webhooks.

The tokens file is that of `mediana serve` (account to SHA-256 digests); the account `"*"` stands for every account, for
an upstream that carries them all. The secrets file maps an account to the secrets that Chatwoot signs with, which must
be kept as they are: whoever checks a signature needs the secret itself. A running server follows both files.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from streams.config import Config
from streams.http.guards import Refused, is_loopback
from streams.http.tokens import Access, FileAccess, FollowedFile, TokensFileError, read_account_lists

EVERY_ACCOUNT = "*"


class IngestAccess:
    """Which accounts a request may write to. Every comparison takes the same time whatever the token.

    `secrets` gives the signing secrets of each account that has some, as they are now.
    """

    def __init__(self, tokens: Access | None = None, secrets: Callable[[], Mapping[str, Sequence[str]]] = dict) -> None:
        self._tokens = tokens or Access()
        self._secrets = secrets

    @classmethod
    def of(cls, config: Config) -> "IngestAccess":
        """The access that the settings grant. Raises `TokensFileError`."""
        tokens, secrets = config.ingest_tokens_file, config.ingest_chatwoot_secrets_file
        access = Access() if tokens is None else FileAccess(tokens)
        if secrets is None:
            return cls(access)
        followed = FollowedFile(secrets, read_secrets_file, "secrets")
        return cls(access, lambda: followed.content)

    @property
    def needs_token(self) -> bool:
        """Whether a request must carry a token."""
        return self._tokens.needs_token

    def accounts(self, authorization: str | None) -> frozenset[str]:
        """The accounts that an `Authorization` header opens; `"*"` among them stands for every one.

        A token is a Bearer's, or the password of Basic: some senders of webhooks can only be given a URL.
        """
        if not self.needs_token:
            return frozenset({EVERY_ACCOUNT})
        token = _token(authorization)
        return frozenset() if token is None else self._tokens.opened_by(token)

    def is_signed(self, account_id: str) -> bool:
        """Whether this account's Chatwoot signs its webhooks."""
        return account_id in self._secrets()

    def signature_fits(self, account_id: str, timestamp: str, body: bytes, signature: str) -> bool:
        """Whether a webhook was signed with one of the account's secrets: HMAC-SHA256 of `TIMESTAMP.BODY`.

        Old signatures are good too. Who sends a signed webhook again changes nothing: its events have the same ids.
        """
        signed = timestamp.encode("utf-8", "surrogateescape") + b"." + body
        given = signature.encode("utf-8", "surrogateescape")
        fits = [
            hmac.compare_digest(
                b"sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode(), given
            )
            for secret in self._secrets().get(account_id, ())
        ]
        return any(fits)


def opens(accounts: frozenset[str], account_id: str) -> bool:
    """Whether `account_id` is among the accounts that a token opens."""
    return account_id in accounts or EVERY_ACCOUNT in accounts


def read_secrets_file(path: Path) -> dict[str, list[str]]:
    """The signing secrets of each account. Raises `TokensFileError`, which never repeats what the file holds."""
    content = read_account_lists(path, "secrets", "secrets")
    for account, secrets in content.items():
        if not isinstance(secrets, list) or not all(isinstance(one, str) and len(one) >= 16 for one in secrets):
            raise TokensFileError(
                f"the secrets file {path}: {account!r} must be a list of secrets, 16 characters or more"
            )
    return content


def _token(authorization: str | None) -> str | None:
    scheme, _, given = (authorization or "").partition(" ")
    given = given.strip()
    if scheme.lower() == "bearer" and given:
        return given
    if scheme.lower() == "basic" and given:
        try:
            return base64.b64decode(given, validate=True).decode().partition(":")[2] or None
        except (binascii.Error, ValueError):
            return None
    return None


def ingest_access(config: Config) -> IngestAccess:
    """Who may send events. Raises `Refused`, for a file that cannot be used, or a service that is open by mistake."""
    try:
        access = IngestAccess.of(config)
    except TokensFileError as error:
        raise Refused(f"MEDIANA_INGEST_TOKENS_FILE or MEDIANA_INGEST_CHATWOOT_SECRETS_FILE: {error}") from None
    if not (access.needs_token or is_loopback(config.ingest_host)):
        raise Refused(
            f"MEDIANA_INGEST_HOST is {config.ingest_host!r}: everyone who reaches it could write events of every "
            "account. Set MEDIANA_INGEST_TOKENS_FILE to require tokens."
        )
    return access
