"""Ports on the loopback address, the only one the local stack listens on."""

import contextlib
import socket
import sys

from streams.local.errors import LocalStackError

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port for a server of ours, which stays ours until this process ends, also while its server is down.

    On Linux: a socket that is bound but does not listen keeps the system from giving the port to anyone else, and from
    making it the near end of an outgoing connection. (A client that tries to reach a server which is down could be
    given that server's own port, would be connected to itself, and would keep the server from starting.) A server may
    listen there all the same, for like all servers it sets SO_REUSEADDR. Elsewhere the port is only free at this
    moment.
    """
    with socket.socket() as holder:
        if sys.platform == "linux":
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((LOOPBACK, 0))
        port: int = holder.getsockname()[1]
        if sys.platform == "linux":
            holder.detach()  # never closed
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
