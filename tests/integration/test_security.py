"""Everything through TLS and passwords, on real servers; and no password shows anywhere, at the chattiest log level."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession

from streams.config import Config
from streams.local.ports import free_port
from streams.local.process import Process
from streams.redis.clients import connect
from streams.redis.keys import NamespaceKeys
from tests.support.cluster import Site, folded, golden
from tests.support.secure_servers import USER, Certificates, SecureKafka, SecureRedis, make_certificates

ROOT = Path(__file__).parents[2]
KAFKA_PASSWORD = f"kafka-{secrets.token_hex(8)}"
# What a URL must escape, and a log may show in either form.
REDIS_PASSWORD = f"redis-{secrets.token_hex(8)}"
WRONG_PASSWORD = f"wrong-{secrets.token_hex(8)}"
SECRETS = (KAFKA_PASSWORD, REDIS_PASSWORD, WRONG_PASSWORD)


@dataclass(frozen=True)
class Servers:
    """The secure servers of this module."""

    kafka: SecureKafka
    redis: SecureRedis
    certificates: Certificates

    def environment(self, how: str, name: str) -> dict[str, str]:
        """The settings of a program that comes in by `how`: a SASL mechanism, or `certificate`."""
        common = {
            "MEDIANA_NAMESPACE": "main",
            "MEDIANA_GROUP": name,
            "MEDIANA_TOPIC_PREFIX": name,
            "MEDIANA_PARTITIONS": "4",
            "MEDIANA_KAFKA_SSL_CAFILE": str(self.certificates.authority),
            "MEDIANA_REDIS_URL": self.redis.url,
            "MEDIANA_REDIS_USERNAME": USER,
            "MEDIANA_REDIS_PASSWORD": REDIS_PASSWORD,
            "MEDIANA_REDIS_SSL_CAFILE": str(self.certificates.authority),
            "MEDIANA_METRICS_PORT": str(free_port()),
            "MEDIANA_PAGE_METRICS_PORT": "0",
            "MEDIANA_HTTP_PORT": str(free_port()),
            "MEDIANA_LOG_LEVEL": "debug",
        }
        if how == "certificate":
            return common | {
                "MEDIANA_KAFKA_BOOTSTRAP": self.kafka.mutual_address,
                "MEDIANA_KAFKA_SECURITY_PROTOCOL": "SSL",
                "MEDIANA_KAFKA_SSL_CERTFILE": str(self.certificates.certificate("client")),
                "MEDIANA_KAFKA_SSL_KEYFILE": str(self.certificates.key("client")),
            }
        return common | {
            "MEDIANA_KAFKA_BOOTSTRAP": self.kafka.secure_address,
            "MEDIANA_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "MEDIANA_KAFKA_SASL_MECHANISM": how,
            "MEDIANA_KAFKA_SASL_USERNAME": USER,
            "MEDIANA_KAFKA_SASL_PASSWORD": KAFKA_PASSWORD,
        }


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    certificates = make_certificates(tmp_path_factory.mktemp("certificates"))
    with (
        SecureKafka(tmp_path_factory.mktemp("kafka"), certificates, KAFKA_PASSWORD) as kafka,
        SecureRedis(tmp_path_factory.mktemp("redis"), certificates, REDIS_PASSWORD) as redis,
    ):
        kafka.add_scram_user()
        yield Servers(kafka, redis, certificates)


class SecureSite(Site):
    """A site of these settings; what its programs say is collected, to be searched for secrets."""

    def __init__(self, environment: dict[str, str], logs: Path) -> None:
        self.variables = environment
        self.config = Config.from_env(environment)
        self.partitions = self.config.partitions
        self.client = connect(self.config)
        self.keys = NamespaceKeys(self.config.namespace)
        self.said: list[str] = []
        self._logs = logs
        self.workers = []
        self._processes: list[Process] = []

    def _inherited(self, changes: dict[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MEDIANA_")}
        return {**kept, **self.variables, **changes}

    async def mediana(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        ended = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "streams.cli.main", *arguments],
            env=self._inherited(changes),
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            timeout=90,
        )
        self.said += [ended.stdout, ended.stderr]
        return ended

    def start(self, *arguments: str, **changes: str) -> Process:
        """Start a command that stays."""
        process = Process(
            arguments[0],
            [sys.executable, "-m", "streams.cli.main", *arguments],
            log_path=self._logs / f"{arguments[0]}-{len(self._processes)}.log",
            environment=self._inherited(changes),
            working_folder=ROOT,
        )
        process.start()
        self._processes.append(process)
        return process

    async def asked(self, port: str, path: str) -> tuple[int, str]:
        """What a program of ours answers, once it does."""
        deadline = time.monotonic() + 60
        async with ClientSession() as session:
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                        text = await response.text()
                        self.said.append(text)
                        return response.status, text
                except ClientError:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.1)

    async def close(self) -> None:
        """End everything, and look for secrets in all that was said."""
        for process in self._processes:
            await asyncio.to_thread(process.stop)
            self.said.append(process.log_text())
        keys = [key async for key in self.client.scan_iter(match="*")]
        if keys:
            await self.client.delete(*keys)
        await self.client.aclose()

    def shown_secrets(self) -> list[str]:
        """The secrets that something has shown."""
        said = "\n".join(self.said)
        return [secret for secret in SECRETS if secret in said]


@pytest.fixture
async def site(
    servers: Servers, request: pytest.FixtureRequest, namespace: str, tmp_path: Path
) -> AsyncIterator[SecureSite]:
    how = getattr(request, "param", "SCRAM-SHA-512")
    site = SecureSite(servers.environment(how, namespace), tmp_path)
    yield site
    await site.close()
    assert site.shown_secrets() == []


@pytest.mark.parametrize("site", ["PLAIN", "SCRAM-SHA-512", "certificate"], indirect=True)
async def test_topics_worker_snapshot_report_and_page_work_through_tls_and_passwords(site: SecureSite) -> None:
    accounts, events = golden()
    assert (await site.mediana("topics", "create")).returncode == 0
    await site.send(accounts, events)
    worker = site.start("worker")
    await site.wait_for(lambda applied: applied == len(events))
    assert await site.facts() == folded(accounts, events)
    assert (await site.asked(site.variables["MEDIANA_METRICS_PORT"], "/metrics"))[0] == 200

    checked = await site.mediana("check")
    assert checked.returncode == 0, checked.stdout
    published = await site.mediana("snapshot")
    assert published.returncode == 0, published.stderr
    account = json.loads(published.stdout.splitlines()[0])["account_id"]
    reported = await site.mediana("report", "--account", account, "--from", "2026-01-01", "--to", "2026-01-31")
    assert reported.returncode == 0, reported.stderr
    assert "first_response" in json.loads(reported.stdout)

    page = site.start("serve")
    status, text = await site.asked(site.variables["MEDIANA_HTTP_PORT"], f"/api/v1/accounts/{account}/report")
    assert (status, json.loads(text)["account_id"]) == (200, account)
    await asyncio.to_thread(worker.stop)
    await asyncio.to_thread(page.stop)
    assert (worker.status, page.status) == (0, 0)


async def test_a_password_in_the_url_is_shown_nowhere_either(site: SecureSite) -> None:
    where = site.variables["MEDIANA_REDIS_URL"].partition("://")[2]
    url = f"rediss://{USER}:{REDIS_PASSWORD}@{where}"
    for variable in ("MEDIANA_REDIS_USERNAME", "MEDIANA_REDIS_PASSWORD"):
        del site.variables[variable]
    assert (await site.mediana("topics", "create")).returncode == 0
    checked = await site.mediana("check", "--json", MEDIANA_REDIS_URL=url)
    assert checked.returncode == 0, checked.stdout


async def test_a_wrong_redis_password_ends_a_worker_with_advice(site: SecureSite) -> None:
    assert (await site.mediana("topics", "create")).returncode == 0
    ended = await site.mediana("worker", MEDIANA_REDIS_PASSWORD=WRONG_PASSWORD)
    assert ended.returncode == 1
    assert "refuses us" in ended.stderr
    assert "look at the user and password in the settings (MEDIANA_REDIS_USERNAME, " in ended.stderr
    checked = await site.mediana("check", MEDIANA_REDIS_PASSWORD=WRONG_PASSWORD)
    assert checked.returncode == 1
    assert "mend the user and password in the settings" in checked.stdout
    page = site.start("serve", MEDIANA_REDIS_PASSWORD=WRONG_PASSWORD)
    status, _ = await site.asked(site.variables["MEDIANA_HTTP_PORT"], "/api/v1/accounts")
    assert status == 503
    assert page.running


@pytest.mark.parametrize("site", ["PLAIN", "SCRAM-SHA-512"], indirect=True)
async def test_a_wrong_kafka_password_ends_a_worker_with_advice(site: SecureSite) -> None:
    checked = await site.mediana("check", MEDIANA_KAFKA_SASL_PASSWORD=WRONG_PASSWORD)
    assert checked.returncode == 1
    assert f"fail  Kafka at {site.config.kafka_bootstrap} refuses us\n" in checked.stdout
    assert "look at MEDIANA_KAFKA_SASL_USERNAME and MEDIANA_KAFKA_SASL_PASSWORD" in checked.stdout
    began = time.monotonic()
    ended = await site.mediana("worker", MEDIANA_KAFKA_SASL_PASSWORD=WRONG_PASSWORD)
    assert ended.returncode == 1
    assert time.monotonic() - began < 20  # the start of a program included, on a busy machine
    last = ended.stderr.splitlines()[-1]
    assert f"Kafka at {site.config.kafka_bootstrap} refuses us: " in last
    assert "MEDIANA_KAFKA_SASL_PASSWORD" in last


async def test_a_mechanism_that_kafka_does_not_know_ends_a_worker_with_advice(site: SecureSite) -> None:
    ended = await site.mediana("worker", MEDIANA_KAFKA_SASL_MECHANISM="SCRAM-SHA-256")
    assert ended.returncode == 1
    assert "it does not know SCRAM-SHA-256; look at MEDIANA_KAFKA_SASL_MECHANISM" in ended.stderr


async def test_servers_that_an_unknown_authority_signed_are_refused(site: SecureSite, tmp_path: Path) -> None:
    foreign = make_certificates(tmp_path).authority
    checked = await site.mediana("check", MEDIANA_KAFKA_SSL_CAFILE=str(foreign), MEDIANA_REDIS_SSL_CAFILE=str(foreign))
    assert checked.returncode == 1
    failed = [line for line in checked.stdout.splitlines() if "cannot be used" in line]
    assert len(failed) == 2, checked.stdout


async def test_servers_whose_certificate_names_another_host_are_refused_unless_told_otherwise(
    site: SecureSite,
) -> None:
    assert (await site.mediana("topics", "create")).returncode == 0
    port = site.variables["MEDIANA_REDIS_URL"].rpartition(":")[2]
    by_name = {"MEDIANA_REDIS_URL": f"rediss://localhost:{port}"}
    refused = await site.mediana("check", **by_name)
    assert refused.returncode == 1, refused.stdout
    allowed = await site.mediana("check", **by_name, MEDIANA_REDIS_SSL_CHECK_HOSTNAME="false")
    assert allowed.returncode == 0, allowed.stdout
