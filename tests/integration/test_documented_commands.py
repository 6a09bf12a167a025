"""Every command that the documentation prints is run here, on a real Kafka and a real Redis, page by page in order.

`HOW` has each of them once: most are run as they are printed, programs that stay are started, waited for and stopped,
and the few that cannot run in a suite say why, and what is checked in their place. A command that is not in the table
fails the test of its page until somebody decides what it should do there.
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest
import yaml

from schemas.accounts import decode_settings
from schemas.published import EXAMPLES
from streams.config import Config
from streams.ingest.producer import Outgoing, Sender, settings_record
from streams.local.ports import ask, free_port
from streams.local.redis import Redis
from tests import npm, programs
from tests.conftest import KafkaAddress
from tests.support.doc_runner import METRICS_PORTS, Desk
from tests.support.documented import PAGES, ROOT, blocks, commands

Edits: TypeAlias = Callable[[Desk], Mapping[str, str]]
Hook: TypeAlias = Callable[[Desk], None]


def nothing(_: Desk) -> None:
    """No hook."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Run it as printed, after `before`: it ends with `status` and says each of `says`; then `after` has what it said.

    `edits` gives what the page calls otherwise than this desk: other machines, files of the system, invented ids.
    """

    says: tuple[str, ...] = ()
    status: int = 0
    edits: Edits = lambda _: {}
    before: Hook = nothing
    after: Callable[[Desk, str], None] = lambda _desk, _told: None


@dataclass(frozen=True)
class Start:
    """Start it, wait until it says that it is ready, and stop it at the end of the page."""


@dataclass(frozen=True)
class Instead:
    """It cannot run in a suite, for the reason given; `check` looks at what can be looked at."""

    reason: str
    check: Callable[[str], None]


# --- what is checked in place of a command ----------------------------------------------------------------------------


def make_knows_it(command: str) -> None:
    """The targets and variables are those of the Makefile."""
    done = subprocess.run(
        [*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    for variable in re.findall(r"([A-Z_]+)=", command):
        assert re.search(rf"\b{variable}\b", (ROOT / "Makefile").read_text(encoding="utf-8")), variable


def compose_has_it(command: str) -> None:
    """Services that are named are those of the file."""
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    named = [word for word in command.split()[3:] if not word.startswith("-")]
    assert set(named) <= set(document["services"])


def systemd_has_it(command: str) -> None:
    """Units that are named are there, instances by their template."""
    there = {path.name for path in (ROOT / "deploy" / "systemd").iterdir()}
    for unit in re.findall(r"mediana[\w.@*-]*", command):
        name = re.sub(r"@.*", "@", unit.rstrip("*").removesuffix(".target"))
        assert any(found.startswith(name) for found in there), unit


def kubernetes_has_it(command: str) -> None:
    """Files, deployments and the namespace that are named are there."""
    manifests = [
        manifest
        for path in sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
        for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]
    names = {(manifest["kind"].lower(), manifest["metadata"]["name"]) for manifest in manifests}
    assert all((ROOT / file).is_dir() for file in re.findall(r"--filename (\S+)", command))
    assert {("deployment", name) for name in re.findall(r"deployment/(\S+)", command)} <= names
    assert {("namespace", name) for name in re.findall(r"--namespace (\S+)", command)} <= names


def kafka_has_it(command: str) -> None:
    """Topics and groups that are named are those of an install without settings of its own."""
    assert set(re.findall(r"--topic (\S+)", command)) <= set(msgspec.structs.astuple(Config().topics))
    assert set(re.findall(r"--group (\S+)", command)) <= {Config().group_id}


def make_makes_the_environment(_: str) -> None:
    assert re.search(r"^VENV +:= \.venv$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def simulation_runs(command: str) -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert all(word in help_text for word in command.split() if word.startswith("--"))


WHOLE_SUITE = Instead("it would run these very tests again", make_knows_it)
MINUTES = Instead("it takes minutes; tests of its own run it in small", make_knows_it)
MEASURES = Instead("it measures for minutes, and times are no matter of this suite", make_knows_it)
INSTALLS = Instead("it installs packages; this suite runs in what it has installed", make_knows_it)
NO_DOCKER = Instead("it needs a container engine", compose_has_it)
NO_SYSTEMD = Instead("it needs systemd, and root", systemd_has_it)
NO_CLUSTER = Instead("it needs a Kubernetes cluster", kubernetes_has_it)
NO_KAFKA_TOOLS = Instead("Kafka's tools are no part of its server, which is all that is fetched", kafka_has_it)

# --- hooks ------------------------------------------------------------------------------------------------------------


def mend(desk: Desk) -> None:
    """What the reader does with repaired.jsonl: give the event the field that it lacks."""
    file = desk.folder / "repaired.jsonl"
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [line["reason"] for line in lines] == ["malformed"]
    for line in lines:
        line["value"] = json.dumps({**json.loads(line["value"]), "channel": "whatsapp"})
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def put_the_copy_where_redis_looks(desk: Desk) -> None:
    """Step 2 of restoring: a folder of Redis with the copy in it, and another server from here on."""
    restored = desk.folder / "restored"
    restored.mkdir()
    shutil.copyfile(desk.folder / "mediana.rdb", restored / "dump.rdb")
    desk.redis_port = free_port()


def wait_for_redis(desk: Desk, _: str = "") -> None:
    deadline = time.monotonic() + 30
    while not ask(desk.redis_port, b"PING\r\n").startswith(b"+PONG"):
        assert time.monotonic() < deadline, "the restored Redis does not answer"
        time.sleep(0.05)


def wait_for_the_file(desk: Desk, _: str) -> None:
    """Step 3: both say 0."""
    deadline = time.monotonic() + 30
    while "1" in desk.run("redis-cli info persistence | grep -E 'aof_rewrite_(in_progress|scheduled)'"):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def everything_is_in_the_copy(desk: Desk) -> None:
    restored = int(desk.run("redis-cli dbsize").split()[-1])
    port, desk.redis_port = desk.redis_port, desk.own_redis_port
    assert restored == int(desk.run("redis-cli dbsize").split()[-1]) > 10
    desk.redis_port = port


def back_to_the_own_redis(desk: Desk, _: str) -> None:
    assert list((desk.folder / "restored" / "appendonlydir").iterdir())
    desk.redis_port = desk.own_redis_port


def keep_the_token(desk: Desk, told: str) -> None:
    desk.environment["TOKEN"] = json.loads(told)["token"]


def another_token(desk: Desk) -> dict[str, str]:
    """A token to revoke, by its id: the one shown in the page is of nobody."""
    made = json.loads(desk.run("mediana token create --account acme"))
    return {"88765b28d540": made["id"]}


def serve_with_tokens(desk: Desk) -> None:
    """The page that the tokens are for; the one without goes on beside it."""
    desk.edits["https://reports.example"] = f"http://127.0.0.1:{(port := free_port())}"
    ports = {"MEDIANA_HTTP_PORT": str(port), METRICS_PORTS["serve"]: str(free_port())}
    desk.start("mediana serve", ports)


def revision(desk: Desk) -> dict[str, str]:
    """The tag of the newest revision in place of the page's."""
    report = json.loads(desk.run("redis-cli get 'mediana:{acme}:report'"))
    return {'"7"': f'"{report["revision"]}"'}


def a_file(pattern: str) -> Callable[[Desk, str], None]:
    """Exactly one such file is there."""

    def there(desk: Desk, _: str) -> None:
        (found,) = desk.folder.glob(pattern)
        assert found.stat().st_size > 0

    return there


def system_files(desk: Desk) -> dict[str, str]:
    """Files of the system in the desk's folder, those of the repository where they are."""
    (desk.folder / "etc" / "systemd" / "system").mkdir(parents=True, exist_ok=True)
    (desk.folder / "etc" / "mediana").mkdir(parents=True, exist_ok=True)
    return {"/etc/": f"{desk.folder}/etc/", "deploy/": f"{ROOT}/deploy/"}


ACME = "http://127.0.0.1:8080/api/v1/accounts/acme"
CHECKED = Run(says=("Kafka", "Redis", "namespace main"))
READY = Run(says=("ok",))

HOW: dict[str, Run | Start | Instead] = {
    # README
    "make": Run(edits=lambda _: {"make": f"make --directory {ROOT}"}, says=("make demo", "make test")),
    "make demo": MINUTES,
    "make demo DEMO_SECONDS=120": MINUTES,
    "make bench": MINUTES,
    "make chaos SEED=7 SECONDS=600": MINUTES,
    "make simulate-faults SEEDS=20000 FIRST=1000": MINUTES,
    "python -m tests.simulation --seed 7": Instead("tests of its own run it, from the repository", simulation_runs),
    "make soak MINUTES=60 RATE=200": MEASURES,
    **{f"make bench-{name}": MEASURES for name in ("flat", "latency", "snapshots", "scale", "startup")},
    "make test": WHOLE_SUITE,
    "make install": INSTALLS,
    ". .venv/bin/activate": Instead("`make install` makes it", make_makes_the_environment),
    "mediana replay events.jsonl --accounts accounts.jsonl --account acme --from 2026-11-01 --to 2026-11-30": Run(
        says=('"new_contacts":{"total":1,',)
    ),
    "mediana explain events.jsonl --accounts accounts.jsonl --account acme --contact c-1001": Run(
        says=("message.sent",)
    ),
    "export MEDIANA_KAFKA_BOOTSTRAP=kafka-1:9092,kafka-2:9092": Run(),
    "export MEDIANA_REDIS_URL=redis://redis:6379/0": Run(),
    "export MEDIANA_PARTITIONS=12": Run(),
    "mediana topics create": Run(says=(".contacts", ".conversations", ".accounts", ".dead-letters")),
    "mediana check": CHECKED,
    "mediana worker": Start(),
    "mediana snapshot --watch": Start(),
    "mediana serve": Start(),
    "docker compose up --build": NO_DOCKER,
    # bring-your-own-data
    "mediana ingest": Start(),
    "curl -H 'Content-Type: application/json' http://127.0.0.1:8081/v1/events -d "
    '\'{"id": "e-1", "type": "message.received",\n'
    '  "account_id": "acme", "contact_id": "c-1", "occurred_at": "2024-11-22T10:00:00-03:00", '
    '"conversation_id": "k-1",\n'
    '  "channel": "whatsapp"}\'': Run(says=('{"accepted":1,"rejected":[]}',)),
    "mediana import webhooks.jsonl --format chatwoot --account acme --out events.jsonl": Run(
        says=('"without_events"',), after=a_file("events.jsonl")
    ),
    "mediana import chats.csv --mapping mapping.toml --dry-run": Run(says=('"error_count": 0', '"written": 0')),
    "mediana import chats.csv --mapping mapping.toml --out events.jsonl": Run(after=a_file("events.jsonl")),
    "mediana import chats.csv --mapping mapping.toml": Run(says=('"written": 3',)),
    # commands
    'echo \'{"timezone": "America/Santiago", "schedule": {"mon": [["09:00", "13:00"], ["14:00", "18:00"]]}, '
    '"holidays": [],\n  "start": "2026-11-23T12:00:00-03:00", "end": "2026-11-23T15:00:00-03:00"}\' '
    "| tr -d '\\n' | mediana business-time": Run(says=('{"seconds":7200}\n',)),
    # snapshot
    "curl 'http://127.0.0.1:8080/api/v1/accounts'": Run(says=('{"account_id":"acme"}',)),
    f"curl '{ACME}/report'": Run(says=('"schema":"mediana.report/1"',)),
    f"curl '{ACME}/metrics?period=last_7_days&channel=whatsapp&channel=email'": Run(
        says=('"channel":["whatsapp","email"]', '"metrics":')
    ),
    f"curl '{ACME}/metrics?from=2026-11-01&to=2026-11-22&origin=none'": Run(says=('"origin":[null]', '"metrics":')),
    f"curl '{ACME}/lists/response?period=last_7_days&over=3600&order=longest&limit=20'": Run(
        says=('"list":"response"', '"rows":')
    ),
    f"curl '{ACME}/lists/waiting'": Run(says=('"list":"waiting"', '"rows":')),
    f"curl -OJ '{ACME}/lists/closed_conversations.csv?period=last_month&advisor=ana'": Run(
        after=a_file("mediana_acme_*closed_conversations_*.csv")
    ),
    f"curl -i -H 'If-None-Match: \"7\"' '{ACME}/report'": Run(edits=revision, says=("304 Not Modified",)),
    f"curl -OJ '{ACME}/metrics.csv?table=days&period=last_month'": Run(after=a_file("mediana_acme_days_*.csv")),
    f"curl -OJ '{ACME}/metrics.csv?table=advisors&from=2026-11-01&to=2026-11-22'": Run(
        after=a_file("mediana_acme_advisors_*.csv")
    ),
    f"curl -OJ '{ACME}/rows.csv?table=responses&period=last_month'": Run(after=a_file("mediana_acme_*responses_*.csv")),
    f"curl -OJ '{ACME}/rows.csv?table=outcomes&from=2026-11-01&to=2026-11-22&origin=none'": Run(
        after=a_file("mediana_acme_*outcomes_*.csv")
    ),
    # A stream that ends when the reader has seen enough: curl says 28 then.
    f"curl -N '{ACME}/events'": Run(
        edits=lambda _: {"curl -N": "curl -N --max-time 2"},
        status=28,
        says=("retry: 5000\n\nid: ", '\nevent: revision\ndata: {"account_id":"acme","revision":'),
    ),
    "export MEDIANA_HTTP_TOKENS_FILE=/etc/mediana/tokens.toml": Run(edits=system_files),
    "mediana token create --account acme": Run(after=keep_the_token),
    "mediana token list": Run(says=('"account_id": "acme"',)),
    "mediana token revoke --id 88765b28d540": Run(edits=another_token, says=('"revoked"',)),
    "curl -H \"Authorization: Bearer $TOKEN\" 'https://reports.example/api/v1/accounts/acme/report'": Run(
        before=serve_with_tokens, says=('"schema":"mediana.report/1"',)
    ),
    # operating
    "redis-cli --rdb mediana.rdb": Run(after=a_file("mediana.rdb")),
    "redis-server --dir /var/lib/redis --appendonly no --save '' --daemonize yes": Run(
        before=put_the_copy_where_redis_looks,
        edits=lambda desk: {"/var/lib/redis": f"{desk.folder}/restored"},
        after=wait_for_redis,
    ),
    "redis-cli config set appendonly yes": Run(says=("OK",)),
    "redis-cli info persistence | grep -E 'aof_rewrite_(in_progress|scheduled)'": Run(
        says=("aof_rewrite_in_progress:", "aof_rewrite_scheduled:"), after=wait_for_the_file
    ),
    "redis-cli shutdown": Run(before=everything_is_in_the_copy, after=back_to_the_own_redis),
    "mediana dead-letters list": Run(says=("malformed",)),
    "mediana dead-letters list --reason malformed --json --payload > repaired.jsonl": Run(
        after=a_file("repaired.jsonl")
    ),
    "mediana dead-letters replay --file repaired.jsonl --dry-run": Run(before=mend, says=('"sent": 0',)),
    "mediana dead-letters replay --file repaired.jsonl": Run(says=('"sent": 1',)),
    "mediana rebuild --into v2 --workers 2": Run(says=('"acme"',)),
    "MEDIANA_NAMESPACE=v2 mediana namespace drop main --yes": Run(),
    "kubectl apply --filename deploy/kubernetes/": NO_CLUSTER,
    "cp deploy/systemd/*.service deploy/systemd/*.target /etc/systemd/system/": Run(
        edits=system_files, after=a_file("etc/systemd/system/mediana.target")
    ),
    "install -D --mode=0600 deploy/systemd/mediana.env.example /etc/mediana/mediana.env": Run(
        edits=system_files, after=a_file("etc/mediana/mediana.env")
    ),
    "systemctl daemon-reload": NO_SYSTEMD,
    "systemctl enable --now mediana.target mediana-worker@9471 mediana-worker@9472 mediana-snapshotter mediana-page": (
        NO_SYSTEMD
    ),
    # runbook
    "curl --silent http://127.0.0.1:9464/readyz": READY,
    "curl --silent http://127.0.0.1:8080/readyz": READY,
    "curl --silent http://127.0.0.1:9467/readyz": READY,
    "mediana dead-letters list --limit 20": Run(says=("malformed",)),
    "redis-cli --latency": Run(),
    "redis-cli info persistence": Run(says=("aof_enabled:1",)),
    "redis-cli info memory": Run(says=("used_memory:", "maxmemory_policy:noeviction")),
    "redis-cli info stats": Run(says=("latest_fork_usec:",)),
    "redis-cli info commandstats": Run(says=("cmdstat_evalsha",)),
    "redis-cli slowlog get": Run(),
    "redis-cli slowlog get 10": Run(),
    "kafka-consumer-groups.sh --bootstrap-server kafka:9092 --describe --group mediana --members": NO_KAFKA_TOOLS,
    "kafka-topics.sh --bootstrap-server kafka:9092 --describe --topic mediana.dead-letters": NO_KAFKA_TOOLS,
    "kafka-topics.sh --bootstrap-server kafka:9092 --describe --under-min-isr-partitions": NO_KAFKA_TOOLS,
    "journalctl --unit 'mediana-*' --since -1h": NO_SYSTEMD,
    "systemctl status 'mediana-worker@*'": NO_SYSTEMD,
    "kubectl --namespace mediana logs deployment/mediana-worker": NO_CLUSTER,
    "kubectl --namespace mediana get pods": NO_CLUSTER,
    "docker compose logs worker": NO_DOCKER,
    "docker compose ps": NO_DOCKER,
}

RUNNING = {
    "docs/run/runbook.md": ("mediana worker", "mediana serve", "mediana ingest"),
    "docs/use/snapshot.md": ("mediana serve",),
}
"""What the reader of a page has running already, by what other pages say."""

LAST = "docs/run/operating.md"
"""It ends by deleting the namespace, so everything that reads it stands before."""

WITH_COMMANDS = sorted(
    (page for page in PAGES if commands((ROOT / page).read_text(encoding="utf-8"))), key=lambda page: page == LAST
)


# --- the site ---------------------------------------------------------------------------------------------------------

SETTINGS = json.loads((EXAMPLES / "account.json").read_text(encoding="utf-8")) | {"account_id": "acme"}


def history(begin: datetime) -> list[dict[str, Any]]:
    """A contact that wrote, was answered five minutes later, and whose conversation was closed."""

    def event(number: int, minutes: int, kind: str, **fields: Any) -> dict[str, Any]:
        at = (begin + timedelta(minutes=minutes)).isoformat()
        base = {"id": f"{kind}-{number}", "type": kind, "account_id": "acme", "contact_id": "c-1001", "occurred_at": at}
        return {**base, **fields}

    talk = {"conversation_id": "k-1001", "channel": "whatsapp"}
    return [
        event(1, 0, "contact.created", origin="Instagram", channel="whatsapp"),
        event(2, 0, "conversation.started", by="contact", **talk),
        event(3, 1, "message.received", **talk),
        event(4, 6, "message.sent", author={"kind": "advisor", "id": "ana"}, **talk),
        event(5, 9, "conversation.closed", conversation_id="k-1001", reason="Resuelto", advisor_id="ana"),
    ]


async def send(desk: Desk) -> None:
    """Settings, a history that ended a minute ago, and a record that nobody can use."""
    config = Config(kafka_bootstrap=desk.bootstrap, topic_prefix=desk.topic_prefix)
    names = config.topics
    events = history(datetime.now(UTC) - timedelta(minutes=10))
    malformed = {name: value for name, value in events[2].items() if name != "channel"} | {"id": "malformed-1"}
    sender = Sender(config, "test")
    await sender.send([settings_record(decode_settings(json.dumps(SETTINGS).encode()), names)])
    await sender.send(
        [
            Outgoing(
                names.contacts if event["type"].startswith("contact.") else names.conversations,
                b"c-1001",
                json.dumps(event).encode(),
            )
            for event in [*events, malformed]
        ]
    )
    await sender.stop()


@dataclass(frozen=True)
class Place:
    """Where every page's reader finds Kafka and Redis, with a report of `acme` published."""

    bootstrap: str
    redis_port: int
    topic_prefix: str


@pytest.fixture(scope="module")
def place(kafka: KafkaAddress, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A Redis of its own, since the pages speak of the namespace `main` and restore and delete it."""
    folder = tmp_path_factory.mktemp("documented")
    with Redis(folder / "redis") as redis:
        place = Place(kafka.bootstrap, redis.port, f"docs-{redis.port}-{time.time_ns()}")
        desk = Desk(folder / "desk", place.bootstrap, place.redis_port, place.topic_prefix)
        try:
            desk.run("mediana topics create")
            asyncio.run(send(desk))
            desk.start("mediana worker")
            deadline = time.monotonic() + 60
            while '"complete":true' not in (told := desk.run("mediana snapshot")) or '"acme"' not in told:
                assert time.monotonic() < deadline, told
            desk.stop()
        finally:
            desk.close()
        yield place


@pytest.fixture
def desk(place: Place, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "desk", place.bootstrap, place.redis_port, place.topic_prefix)
    try:
        yield desk
        desk.stop()
    finally:
        desk.close()


# --- readers of Redis -------------------------------------------------------------------------------------------------


def read_on(desk: Desk, *program: str | Path) -> None:
    """Start a reader of the page; it shows the report it finds, and the next revision when that is published."""
    newest = int(revision(desk)['"7"'].strip('"'))
    with subprocess.Popen(
        [*program], cwd=desk.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as reader:
        try:
            assert reader.stdout is not None
            first = reader.stdout.readline()
            assert re.fullmatch(rf"{newest} \d+(\.\d+)?\n", first), first + reader.stdout.read()
            deadline = time.monotonic() + 30
            while int(desk.run("redis-cli pubsub numsub 'mediana:{acme}:published'").split()[-1]) == 0:
                assert time.monotonic() < deadline, "it does not subscribe"
            desk.run("mediana snapshot --account acme")
            assert reader.stdout.readline() == f"new revision {newest + 1}\n"
        finally:
            reader.kill()


def test_the_python_reader_of_the_page_shows_each_revision(desk: Desk) -> None:
    block, _ = blocks((ROOT / "docs/use/snapshot.md").read_text(encoding="utf-8"), "python")
    (desk.folder / "reader.py").write_text(desk.edited(block), encoding="utf-8")
    read_on(desk, sys.executable, "-u", "reader.py")


def test_the_python_reader_of_the_page_reads_an_older_document(desk: Desk) -> None:
    _, block = blocks((ROOT / "docs/use/snapshot.md").read_text(encoding="utf-8"), "python")
    newest = int(revision(desk)['"7"'].strip('"'))
    desk.run("mediana snapshot --account acme")
    reader = desk.folder / "older.py"
    reader.write_text(desk.edited(block).replace('history", 6', f'history", {newest}'), encoding="utf-8")
    done = subprocess.run([sys.executable, reader], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == f"{newest}\n", done.stderr


def test_the_node_reader_of_the_page_shows_each_revision(desk: Desk) -> None:
    (block,) = blocks((ROOT / "docs/use/snapshot.md").read_text(encoding="utf-8"), "js")
    # Imports are looked up from where the file lies.
    npm.unpack(npm.NODE_EXAMPLES, desk.folder / "node_modules")
    (desk.folder / "reader.mjs").write_text(desk.edited(block), encoding="utf-8")
    read_on(desk, programs.need("Node 18 or newer"), "reader.mjs")


# --- the pages --------------------------------------------------------------------------------------------------------


def lay_out_the_files_that_a_page_names(page: str, desk: Desk) -> None:
    """Files that the reader has, of the content that the page shows where it shows one."""
    markdown = (ROOT / page).read_text(encoding="utf-8")
    if page == "README.md":
        november = history(datetime(2026, 11, 16, 12, 0, tzinfo=UTC))
        (desk.folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in november))
        (desk.folder / "accounts.jsonl").write_text(json.dumps(SETTINGS) + "\n")
    if page == "docs/use/bring-your-own-data.md":
        (table,) = blocks(markdown, "csv")
        (webhooks,) = (block for block in blocks(markdown, "jsonl") if "contact_created" in block)
        (desk.folder / "webhooks.jsonl").write_text(webhooks, encoding="utf-8")
        (mapping,) = (block for block in blocks(markdown, "toml") if "[[events]]" in block)
        (desk.folder / "chats.csv").write_text(table, encoding="utf-8")
        (desk.folder / "mapping.toml").write_text(mapping, encoding="utf-8")


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_a_page_can_be_followed_command_by_command(page: str, desk: Desk) -> None:
    lay_out_the_files_that_a_page_names(page, desk)
    for command in RUNNING.get(page, ()):
        desk.start(command)
    for command in commands((ROOT / page).read_text(encoding="utf-8")):
        match HOW[command]:
            case Run() as how:
                how.before(desk)
                told = desk.run(command, status=how.status, edits=how.edits(desk))
                assert [words for words in how.says if words not in told] == [], f"{command}\nsaid:\n{told}"
                how.after(desk, told)
            case Start():
                desk.start(command)
            case Instead() as how:
                how.check(command)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_is_known_here(page: str) -> None:
    unknown = [command for command in commands((ROOT / page).read_text(encoding="utf-8")) if command not in HOW]
    assert unknown == [], "say in HOW what these should do when they are run, or why they cannot be"


def test_no_command_is_kept_that_no_page_has() -> None:
    printed = {command for page in PAGES for command in commands((ROOT / page).read_text(encoding="utf-8"))}
    assert [command for command in HOW if command not in printed] == []


def test_a_new_command_would_be_noticed() -> None:
    assert [command for command in commands("```sh\nmediana check\nmediana fly\n```") if command not in HOW] == [
        "mediana fly"
    ]


def test_a_command_is_found_wherever_a_page_has_it() -> None:
    page = (
        "Run `redis-cli info` or\n\n"
        "   ```sh\n   export A=1  # a comment\n   curl 'http://x/#y' -d '{\n     }'\n   ```\n"
        "```console\n$ mediana check --json\n{}\n```\n```python\nprint(1)\n```\nand `make`, not `Makefile`."
    )
    assert commands(page) == [
        *("redis-cli info", "export A=1", "curl 'http://x/#y' -d '{\n  }'", "mediana check --json", "make"),
    ]
