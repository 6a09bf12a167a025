"""Tokens of two accounts, and clients that carry one."""

import hashlib
from typing import Any

from aiohttp.test_utils import TestClient

TOKENS = {"acme": "acme's own", "globex": "globex's own"}
DIGESTS = {account: [hashlib.sha256(token.encode()).hexdigest()] for account, token in TOKENS.items()}

Client = TestClient[Any, Any]


def bearer(account: str) -> dict[str, str]:
    """The header of a request with the account's token."""
    return {"Authorization": f"Bearer {TOKENS[account]}"}
