"""What would end a program later is refused when settings are read, or found by a check: every setting is tried."""

import asyncio
import errno
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from streams.cli import check
from streams.cli.preflight import preflight
from streams.config import SETTINGS, Config, ConfigError, load
from streams.errors import Fatal
from streams.findings import Finding
from streams.http.listening import is_ours
from streams.ingest.server import run as run_ingest
from streams.monitoring.probes import add_probes
from streams.monitoring.server import MetricsServer
from streams.web.server import run as run_page

TLS_KAFKA = {"MEDIANA_KAFKA_SECURITY_PROTOCOL": "SSL"}
TLS_REDIS = {"MEDIANA_REDIS_URL": "rediss://127.0.0.1:1/0"}
SASL = {
    "MEDIANA_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "MEDIANA_KAFKA_SASL_USERNAME": "u",
    "MEDIANA_KAFKA_SASL_PASSWORD": "p",
}


class Bad(NamedTuple):
    """Values of a setting that end a program, and what else must be set for them to matter."""

    values: tuple[str, ...]
    beside: Mapping[str, str] = {}


NOWHERE = "/nowhere/at/all"
NUMBERS = ("", "x", "-1", "1e999", "nan")
PORTS = ("x", "-1", "65536", "TAKEN")
FILES = (NOWHERE, "FOLDER", "GARBAGE")

BAD: Mapping[str, Bad] = {
    "kafka_bootstrap": Bad(("", "host:port", "host:0", "host:99999", "a:1,,b:2", "a:1/x", ":9092")),
    "kafka_security_protocol": Bad(("", "TLS", "ssl")),
    "kafka_sasl_mechanism": Bad(("", "GSSAPI"), SASL),
    "kafka_sasl_username": Bad(("",), SASL),
    "kafka_sasl_password": Bad(("",), SASL),
    "kafka_ssl_cafile": Bad(FILES, TLS_KAFKA),
    "kafka_ssl_certfile": Bad(FILES, TLS_KAFKA),
    "kafka_ssl_keyfile": Bad(FILES, {**TLS_KAFKA, "MEDIANA_KAFKA_SSL_CERTFILE": "CERT"}),
    "kafka_ssl_key_password": Bad(
        ("wrong",), {**TLS_KAFKA, "MEDIANA_KAFKA_SSL_CERTFILE": "CERT", "MEDIANA_KAFKA_SSL_KEYFILE": "LOCKED_KEY"}
    ),
    "kafka_ssl_check_hostname": Bad(("", "maybe")),
    "kafka_session_timeout_seconds": Bad((*NUMBERS, "0", "1801")),
    "topic_prefix": Bad(("", "a b", "a\n", "é", "x" * 151)),
    "group": Bad(("a\nb", "x" * 151)),
    "redis_url": Bad(("", "localhost", "http://h", "redis://h:port", "redis://h:99999", "redis://h:0", "redis://h:-1")),
    "redis_cluster": Bad(("maybe",)),
    "redis_sentinels": Bad(("host:port", "a:1,,b:2", "a:0"), {}),
    "redis_sentinel_service": Bad(("",), {"MEDIANA_REDIS_SENTINELS": "a:1"}),
    "redis_ssl_cafile": Bad(FILES, TLS_REDIS),
    "redis_ssl_certfile": Bad(FILES, TLS_REDIS),
    "redis_ssl_keyfile": Bad(FILES, {**TLS_REDIS, "MEDIANA_REDIS_SSL_CERTFILE": "CERT"}),
    "redis_ssl_check_hostname": Bad(("maybe",)),
    "redis_timeout_seconds": Bad((*NUMBERS, "0", "1e9")),
    "namespace": Bad(("", "a}b", "a\n", "{a}", "x" * 151)),
    "partitions": Bad((*NUMBERS, "0", "1.5", "10001", "9" * 30)),
    "contact_lateness_days": Bad(("x", "-1", "nan", "inf", "1e10")),
    "lateness_seconds": Bad(("x", "-1", "nan", "inf", "1e10")),
    "retention_days": Bad((*NUMBERS, "0", "36501")),
    "snapshot_cron": Bad(("", "x", "61 * * * *", "* * *", "0 0 30 2 *", "0 0 * * mon-xyz", "* * * * * * * *")),
    "snapshot_interval_seconds": Bad(("x", "-1", "0", "nan", "inf")),
    "snapshot_history": Bad(("x", "-1", "10001")),
    "http_host": Bad(("203.0.113.1", "no.such.host.invalid"), {"MEDIANA_HTTP_OPEN": "true"}),
    "http_port": Bad(PORTS),
    "http_tokens_file": Bad(FILES),
    "http_open": Bad(("maybe",)),
    "http_rate_per_second": Bad(("x", "-1", "nan", "inf")),
    "ingest_host": Bad(("0.0.0.0", "203.0.113.1", "no.such.host.invalid")),
    "ingest_port": Bad(PORTS),
    "ingest_tokens_file": Bad(FILES),
    "ingest_chatwoot_secrets_file": Bad(FILES),
    "ingest_requests": Bad((*NUMBERS, "0", "10001")),
    "metrics_host": Bad(("203.0.113.1", "no.such.host.invalid")),
    "metrics_port": Bad(PORTS),
    "snapshotter_metrics_port": Bad(PORTS),
    "page_metrics_port": Bad((*PORTS, "8080")),
    "ingest_metrics_port": Bad(PORTS),
    "log_level": Bad(("", "loud")),
    "log_format": Bad(("", "xml")),
    "agents": Bad((*NUMBERS, "0")),
    "batch_events": Bad((*NUMBERS, "0")),
    "batch_bytes": Bad((*NUMBERS, "0")),
    "cache_contacts": Bad((*NUMBERS, "0")),
    "batch_seconds": Bad(("x", "-1", "0", "nan", "inf")),
    "batch_memory": Bad((*NUMBERS, "0")),
    "cache_bytes": Bad((*NUMBERS, "0")),
    "cache_days": Bad((*NUMBERS, "0")),
    "cache_accounts": Bad((*NUMBERS, "0")),
    "dead_letter_ratio": Bad(("x", "-1", "nan", "1.1")),
    "dead_letter_window": Bad((*NUMBERS, "0")),
    "dead_letter_run": Bad(("x", "-1")),
    "watchdog_seconds": Bad(("x", "-1", "0", "nan", "inf")),
    "accept_gap": Bad(("maybe",)),
}

OF_SERVERS = {"redis_username", "redis_password", "redis_sentinel_password"}
"""Any text may be right: the server says, and the check asks it."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("files")
    (folder / "garbage").write_text("[not a file of anything", encoding="utf-8")
    key = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-days", "1", "-subj", "/CN=x"]
    for name, secret in (("key", ["-nodes"]), ("locked", ["-passout", "pass:right"])):
        made = ["-keyout", f"{folder}/{name}.pem", "-out", f"{folder}/{name}.crt", *secret]
        subprocess.run([*key, *made], check=True, capture_output=True)
    return {
        "FOLDER": str(folder),
        "GARBAGE": str(folder / "garbage"),
        "CERT": str(folder / "locked.crt"),
        "LOCKED_KEY": str(folder / "locked.pem"),
    }


@pytest.fixture
def taken() -> Iterator[int]:
    """A port at which something listens that is not ours."""
    with socket.create_server(("127.0.0.1", 0)) as wire:
        yield wire.getsockname()[1]


def failures(environ: Mapping[str, str]) -> list[Finding]:
    """What is wrong by the settings, or by a check of this machine."""
    try:
        config = load(environ)
    except ConfigError as error:
        return [Finding("fail", str(error))]
    return [finding for finding in asyncio.run(preflight(config)) if finding.status == "fail"]


def test_every_setting_is_tried_or_is_a_servers_affair() -> None:
    assert BAD.keys() | OF_SERVERS == {setting.name for setting in SETTINGS}
    assert not BAD.keys() & OF_SERVERS


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_value_of_any_setting_is_refused_or_found(name: str, files: dict[str, str], taken: int) -> None:
    variable = f"MEDIANA_{name.upper()}"
    values, beside = BAD[name]
    ports = {setting.variable: "0" for setting in SETTINGS if setting.name.endswith("_port")}
    around = ports | {other: files.get(value, value) for other, value in beside.items()}
    around |= {"MEDIANA_HTTP_PORT": "8080"} if name == "page_metrics_port" else {}
    for value in values:
        given = str(taken) if value == "TAKEN" else files.get(value, value)
        host = {"MEDIANA_METRICS_HOST": "127.0.0.1"} if name != "metrics_host" else {}
        found = failures({**around, **host, variable: given})
        assert found, (variable, value)
        assert any(variable in finding.what for finding in found) or beside or "HOST" in variable, (value, found)


def test_settings_as_they_come_are_found_good() -> None:
    ports = {setting.variable: "0" for setting in SETTINGS if setting.name.endswith("_port")}
    assert failures(ports) == []


def _ports() -> list[str]:
    return [setting.name.upper() for setting in SETTINGS if setting.name.endswith("_port")]


def test_a_privileged_port_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_host: str, port: int) -> OSError | None:
        return PermissionError(errno.EACCES, "told by asyncio in its own words") if port == 80 else None

    monkeypatch.setattr("streams.cli.preflight.refusal", refuse)
    (found,) = failures({**{f"MEDIANA_{name}": "0" for name in _ports()}, "MEDIANA_HTTP_PORT": "80"})
    assert found.what == "MEDIANA_HTTP_PORT: cannot listen on 127.0.0.1:80: Permission denied"
    assert found.advice == "set MEDIANA_HTTP_PORT to a port above 1023."


async def test_a_port_at_which_a_program_of_ours_answers_is_no_fault() -> None:
    async def ready() -> None:
        return None

    app = web.Application()
    add_probes(app, ready)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        assert await is_ours("127.0.0.1", port)
        ports = dict.fromkeys((name.lower() for name in _ports()), 0) | {"metrics_port": port}
        found = await preflight(Config(**ports))
    finally:
        await runner.cleanup()
    assert [finding.what for finding in found if finding.status == "fail"] == []
    assert f"MEDIANA_METRICS_PORT: a program of Mediana answers at port {port} of 127.0.0.1" in {
        one.what for one in found
    }


@pytest.mark.parametrize(("name", "run"), [("http", run_page), ("ingest", run_ingest)])
def test_a_program_refuses_what_the_check_finds_in_the_same_words(
    name: str, run: Callable[[Config], int], taken: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ports = {f"MEDIANA_{port}": "0" for port in _ports()}
    for bad in ({f"MEDIANA_{name.upper()}_PORT": str(taken)}, {f"MEDIANA_{name.upper()}_TOKENS_FILE": NOWHERE}):
        (found,) = failures(ports | bad)
        assert run(load(ports | bad)) == 2
        assert found.what.partition(": ")[2].split(". ")[0] in capsys.readouterr().err


async def test_metrics_of_a_host_that_is_elsewhere_end_the_program_with_a_reason() -> None:
    with pytest.raises(Fatal, match="Set MEDIANA_METRICS_HOST to an address of this machine"):
        await MetricsServer(CollectorRegistry(), "203.0.113.1", 0).start()


@pytest.mark.parametrize(
    ("apart", "status"), [(0, "ok"), (59, "ok"), (-61, "warn"), (3601, "fail"), (-5 * 366 * 86_400, "fail")]
)
def test_clocks_that_are_apart_are_found(apart: float, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_000_000_000.0 + apart)
    assert check.clock_finding(1_000_000_000.0).status == status
