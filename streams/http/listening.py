"""Tells whether a program can listen at an address, and who listens there if it cannot."""

import errno
import os
import socket
from urllib.parse import quote

from aiohttp import ClientError, ClientSession, ClientTimeout

PATIENCE_SECONDS = 2.0


def cannot_listen(host: str, port: int, error: OSError, setting: str) -> str:
    """Why a server does not start, and what to do. `setting` names the one with the port."""
    # asyncio puts a text of its own around the system's.
    known = error.errno or 0
    reason = os.strerror(known) if known > 0 else error.strerror or str(error)
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {host}:{port}: {reason}. Set {_host_setting(setting)} to an address of this machine."
    if isinstance(error, PermissionError):
        return f"cannot listen on {host}:{port}: {reason}. Set {setting} to a port above 1023."
    return f"cannot listen on {host}:{port}: {reason}. Set {setting} to a free port."


def _host_setting(setting: str) -> str:
    return "MEDIANA_METRICS_HOST" if "METRICS" in setting else setting.replace("_PORT", "_HOST")


def refusal(host: str, port: int) -> OSError | None:
    """Why nobody can listen there now, or nothing when one can. A port of 0 is any free one."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind, protocol) as wire:
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                wire.bind(address)
                wire.listen(1)
    except OSError as error:
        return error
    return None


async def is_ours(host: str, port: int) -> bool:
    """Whether a program of Mediana answers there: one that runs already has its own port."""
    where = "127.0.0.1" if host in ("", "0.0.0.0") else "::1" if host == "::" else host
    base = f"http://{f'[{where}]' if ':' in where else quote(where)}:{port}"
    try:
        async with (
            ClientSession(timeout=ClientTimeout(total=PATIENCE_SECONDS)) as session,
            session.get(f"{base}/livez") as response,
        ):
            text = (await response.content.read(100)).decode(errors="replace")
            return text == "ok\n" and response.headers.get("Cache-Control") == "no-store"
    except (ClientError, OSError, TimeoutError, ValueError):
        return False
