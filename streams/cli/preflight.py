"""Checks what the programs need of this machine before they start: files and ports.

One function for each concern. The program that has it calls it at its start, and `mediana check` calls all of them, so
that a check finds whatever would end a program later.
"""

from collections.abc import Callable, Iterator

from streams.config import Config, ConfigError
from streams.errors import Fatal
from streams.findings import Finding
from streams.http.guards import Refused
from streams.http.listening import cannot_listen, is_ours, refusal
from streams.ingest.access import ingest_access
from streams.kafka.clients import client_options
from streams.redis.clients import connect
from streams.web.access import page_access

SERVED: tuple[tuple[str, str], ...] = (
    ("http_host", "http_port"),
    ("ingest_host", "ingest_port"),
    ("metrics_host", "metrics_port"),
    ("metrics_host", "snapshotter_metrics_port"),
    ("metrics_host", "page_metrics_port"),
    ("metrics_host", "ingest_metrics_port"),
)
"""Every address that a program listens on: the settings of its host and port."""


async def preflight(config: Config) -> list[Finding]:
    """Everything that would keep a program from starting on this machine, without asking Kafka or Redis."""
    concerns: tuple[tuple[str, Callable[[Config], object]], ...] = (
        ("the page's access", page_access),
        ("the access of `ingest`", ingest_access),
        ("what Kafka's clients need", client_options),
        ("what Redis' clients need", connect),
    )
    findings = []
    for what, ask in concerns:
        try:
            ask(config)
        except (Refused, ConfigError, Fatal) as error:
            findings.append(Finding("fail", str(error), "docs/run/settings.md says what each setting may be"))
        else:
            findings.append(Finding("ok", f"{what} can be used"))
    return [*findings, *_same_ports(config), *[await _port(config, *address) for address in SERVED]]


def _same_ports(config: Config) -> Iterator[Finding]:
    """Two servers that are to listen at one address of this machine."""
    taken: dict[tuple[str, int], str] = {}
    for host_name, port_name in SERVED:
        host, port = getattr(config, host_name), getattr(config, port_name)
        setting = f"MEDIANA_{port_name.upper()}"
        other = taken.setdefault((host, port), setting) if port else setting
        if other != setting:
            yield Finding("fail", f"{setting} is {port}, which {other} has too", f"set {setting} to a port of its own")


async def _port(config: Config, host_name: str, port_name: str) -> Finding:
    host, port = getattr(config, host_name), getattr(config, port_name)
    setting = f"MEDIANA_{port_name.upper()}"
    error = refusal(host, port)
    if error is None:
        return Finding("ok", f"{setting}: port {port} of {host} is free" if port else f"{setting}: any free port")
    if await is_ours(host, port):
        return Finding("ok", f"{setting}: a program of Mediana answers at port {port} of {host}")
    problem, _, advice = cannot_listen(host, port, error, setting).partition(". ")
    return Finding("fail", f"{setting}: {problem}", advice[:1].lower() + advice[1:])
