"""Reads TLS files before a client uses them, so that an error names the file and setting."""

import ssl
from pathlib import Path

from streams.config import PREFIX, ConfigError


def client_context(
    service: str, cafile: Path | None, certfile: Path | None, keyfile: Path | None, password: str | None = None
) -> ssl.SSLContext:
    """The context of a client of `service` (`kafka` or `redis`). Raises `ConfigError`, which names the setting."""
    setting = f"{PREFIX}{service.upper()}_SSL"
    try:
        context = ssl.create_default_context(cafile=cafile)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{setting}_CAFILE", _problem(cafile, error)) from None
    if certfile is None:
        if keyfile is not None:
            raise ConfigError(f"{setting}_KEYFILE", f"a key needs its certificate: set {setting}_CERTFILE")
        return context
    for name, file in (("CERTFILE", certfile), ("KEYFILE", keyfile)):
        try:
            if file is not None:
                file.read_bytes()
        except OSError as error:
            raise ConfigError(f"{setting}_{name}", _problem(file, error)) from None
    try:
        # A key that is encrypted would be asked for on the terminal of a program that has none.
        context.load_cert_chain(certfile, keyfile, password or "")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{setting}_CERTFILE",
            f"{_problem(certfile, error)}; is the key in {keyfile or certfile} that of the certificate, and readable "
            "with the key's password?",
        ) from None
    return context


def _problem(file: Path | None, error: Exception) -> str:
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
        return f"{file} holds no certificate or key in PEM that can be used"
    return f"{file} cannot be read: {error.strerror}"
