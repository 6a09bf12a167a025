"""Ports on the loopback address, the only one the local stack listens on."""

import contextlib
import socket

from streams.local.errors import LocalStackError

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def require_free(port: int, owner: str, advice: str) -> None:
    """Raise LocalStackError when somebody listens on `port`.

    `owner` is who wanted it, `advice` how to choose another.
    """
    with socket.socket() as probe:
        # As servers do: connections of an earlier run that are still fading away are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise LocalStackError(
                f"Port {port}, meant for {owner}, cannot be used: {error.strerror}.", advice
            ) from error


def ask(port: int, request: bytes, timeout_seconds: float = 1.0) -> bytes:
    """Send `request` and return the first bytes of the answer; empty when nobody answers in time."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection((LOOPBACK, port), timeout=timeout_seconds) as connection,
    ):
        connection.sendall(request)
        return connection.recv(4096)
    return b""
