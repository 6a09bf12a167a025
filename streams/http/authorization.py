"""Finds the accounts that a request may read, from its bearer token."""

from aiohttp import web

from streams.http.errors import ApiError
from streams.http.tokens import Access

ACCESS = web.AppKey("access", Access)


def bearer_token(request: web.Request) -> str | None:
    """The token of a request: only ever from the header, never from the address, which logs and histories keep."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def opened_accounts(request: web.Request) -> frozenset[str] | None:
    """The accounts open to this request; `None` means all. Raises `ApiError` without a token that opens any."""
    access = request.app[ACCESS]
    if not access.needs_token:
        return None
    token = bearer_token(request)
    if token is None:
        raise ApiError(
            401, "token_needed", "A token is needed.", "Send it as the header `Authorization: Bearer TOKEN`."
        )
    opened = access.opened_by(token)
    if not opened:
        raise ApiError(401, "token_unknown", "This token opens no account.", "Check the token, or ask for a new one.")
    return opened


def authorize(request: web.Request, account_id: str) -> None:
    """Let the request through if its token opens the account, or if no tokens are in force. Raises `ApiError`.

    An account that does not exist and one that the token does not open are told apart by nobody.
    """
    opened = opened_accounts(request)
    if opened is not None and account_id not in opened:
        raise ApiError(403, "forbidden", "This token does not open this account.", "Use a token of the account.")


def authorized_account(request: web.Request) -> str:
    """The account in the request's path, which the caller may read. Raises `ApiError`."""
    account_id = request.match_info["account_id"]
    authorize(request, account_id)
    return account_id
