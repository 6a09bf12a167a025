"""Who may read the page: everyone on this machine, or those with a token of the tokens file."""

from streams.config import Config
from streams.http.guards import Refused, is_loopback
from streams.http.tokens import Access, FileAccess, TokensFileError


def page_access(config: Config) -> Access:
    """Who may read the page. Raises `Refused` for a file that cannot be used, or a page that is open by mistake."""
    try:
        access = Access() if config.http_tokens_file is None else FileAccess(config.http_tokens_file)
    except TokensFileError as error:
        raise Refused(f"MEDIANA_HTTP_TOKENS_FILE: {error}") from None
    if not (access.needs_token or config.http_open or is_loopback(config.http_host)):
        raise Refused(
            f"MEDIANA_HTTP_HOST is {config.http_host!r}: everyone who reaches it could read every account. Set "
            "MEDIANA_HTTP_TOKENS_FILE to require tokens, or MEDIANA_HTTP_OPEN=true if that is meant."
        )
    return access
