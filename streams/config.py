"""The program's settings: one frozen object, read once from the environment or a TOML file.

Every setting is one field of `Config`: the name in the environment is `MEDIANA_` and the field's name in capitals, the
name in the file is the field's name. The environment wins. `SETTINGS` lists them for the documentation and `check`.
"""

# ruff: noqa: RUF009 - `_setting` makes the field of a dataclass

import dataclasses
import re
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from aggregates.history import Lateness
from schemas.limits import MAX_PARTITIONS
from schemas.topics import Topics, topics
from streams.secrecy import toml_problem, url_secrets

PREFIX = "MEDIANA_"
FILE_VARIABLE = "MEDIANA_CONFIG"
MAIN_NAMESPACE = "main"

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
MAX_NAME = 150
"""Kafka takes names of 249 characters, and a topic's begins with the prefix."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_LOG_LEVELS = ("debug", "info", "warning", "error")
_LOG_FORMATS = ("text", "json")


class ConfigError(ValueError):
    """A setting that cannot be used; `setting` is its name as the person who must mend it knows it."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting
        self.problem = problem


class Secret(str):
    """A text that never shows itself in a `repr`, so that no dump of settings or traceback of ours prints it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Setting(NamedTuple):
    """A setting as documentation shows it."""

    variable: str
    name: str
    default: Any
    meaning: str
    secret: bool


def _setting(default: Any, meaning: str) -> Any:
    return dataclasses.field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings. Raises `ConfigError` when one makes no sense."""

    kafka_bootstrap: str = _setting("127.0.0.1:9092", "Kafka brokers to begin with, `host:port`, separated by commas")
    kafka_security_protocol: str = _setting("PLAINTEXT", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")
    kafka_sasl_mechanism: str = _setting("PLAIN", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
    kafka_sasl_username: str | None = _setting(None, "user of SASL")
    kafka_sasl_password: Secret | None = _setting(None, "password of SASL")
    kafka_ssl_cafile: Path | None = _setting(None, "certificates that sign the brokers' (PEM); unset: the system's")
    kafka_ssl_certfile: Path | None = _setting(None, "our certificate, where brokers ask for one (PEM)")
    kafka_ssl_keyfile: Path | None = _setting(None, "our certificate's key (PEM)")
    kafka_ssl_key_password: Secret | None = _setting(None, "what the key is encrypted with")
    kafka_ssl_check_hostname: bool = _setting(True, "whether a broker's certificate must name its host")
    kafka_session_timeout_seconds: float = _setting(12.0, "silence after which the group takes a worker for dead")
    topic_prefix: str = _setting("mediana", "first part of the topics' names, as in `mediana.contacts`")
    group: str | None = _setting(None, "consumer group; unset: `mediana`, with `-NAMESPACE` for another namespace")

    redis_url: Secret = _setting(Secret("redis://127.0.0.1:6379/0"), "Redis, `redis://` or with TLS `rediss://`")
    redis_username: str | None = _setting(None, "ACL user, if not in the URL")
    redis_password: Secret | None = _setting(None, "password, if not in the URL")
    redis_cluster: bool = _setting(False, "whether the URL names a node of a Redis Cluster")
    redis_sentinels: str | None = _setting(None, "Sentinels, `host:port`, separated by commas; the URL gives the rest")
    redis_sentinel_service: str = _setting("mymaster", "name by which the Sentinels know the primary")
    redis_sentinel_password: Secret | None = _setting(None, "password of the Sentinels themselves")
    redis_ssl_cafile: Path | None = _setting(None, "certificates that sign Redis' (PEM); unset: the system's")
    redis_ssl_certfile: Path | None = _setting(None, "our certificate, where Redis asks for one (PEM)")
    redis_ssl_keyfile: Path | None = _setting(None, "our certificate's key (PEM)")
    redis_ssl_check_hostname: bool = _setting(True, "whether Redis' certificate must name its host")
    redis_timeout_seconds: float = _setting(10.0, "how long an answer of Redis may take")
    namespace: str = _setting(MAIN_NAMESPACE, "names apart what several installs keep in one Redis")

    partitions: int = _setting(6, "partitions of both event topics, for `topics create`")
    lateness_seconds: float = _setting(
        3600.0, "how far behind its contact's newest event a conversation event may arrive"
    )
    contact_lateness_days: float = _setting(
        30.0, "the same for a contact's own events: creation, move, deletion, restoring, merge"
    )
    retention_days: int = _setting(800, "days whose counters are kept")
    snapshot_cron: str = _setting("0 */4 * * *", "when reports are published, in UTC")
    snapshot_interval_seconds: float | None = _setting(None, "publish this often instead of by the cron setting")
    snapshot_history: int = _setting(12, "older reports kept per account")

    http_host: str = _setting("127.0.0.1", "address the page listens on")
    http_port: int = _setting(8080, "port of the page")
    http_tokens_file: Path | None = _setting(None, "file that says which token reads which account")
    http_open: bool = _setting(False, "whether a page beyond loopback may do without tokens")
    http_rate_per_second: float = _setting(50.0, "requests to the API that a token or address may make; 0: any number")
    ingest_host: str = _setting("127.0.0.1", "address that `ingest` listens on")
    ingest_port: int = _setting(8081, "port of `ingest`; 0: any free one")
    ingest_tokens_file: Path | None = _setting(None, "file that says which token may send events of which account")
    ingest_chatwoot_secrets_file: Path | None = _setting(
        None, "file that says which secrets sign the Chatwoot webhooks of which account"
    )
    ingest_requests: int = _setting(64, "requests that `ingest` handles at once; more are told to come back")
    metrics_host: str = _setting("127.0.0.1", "address the metrics listen on")
    metrics_port: int = _setting(9464, "port of the worker's metrics; 0: any free one")
    snapshotter_metrics_port: int = _setting(9465, "port of the snapshotter's metrics; 0: any free one")
    page_metrics_port: int = _setting(9466, "port of the page's metrics; 0: any free one")
    ingest_metrics_port: int = _setting(9467, "port of the metrics of `ingest`; 0: any free one")
    log_level: str = _setting("info", "debug, info, warning or error")
    log_format: str = _setting("text", "text for people, or json: one object a line for collectors")

    agents: int = _setting(8, "batches of different shards that may wait for Redis at once")
    batch_events: int = _setting(2000, "most records of a commit; 2,000 keep Redis busy for some 6 ms")
    batch_bytes: int = _setting(4 << 20, "most bytes of records of a commit (a longer record goes alone)")
    batch_seconds: float = _setting(
        2.0, "how long the events of one commit may take to fold; more become several commits"
    )
    batch_memory: int = _setting(64 << 20, "most bytes of contacts' states and older entries that one commit reads")
    cache_contacts: int = _setting(50_000, "contacts a worker remembers per shard")
    cache_bytes: int = _setting(64 << 20, "bytes of contacts' states that a worker remembers per shard")
    cache_days: int = _setting(50_000, "accounts' days whose totals a worker remembers per shard")
    cache_accounts: int = _setting(10_000, "accounts whose settings a worker keeps compiled, at some 30 kB each")
    dead_letter_ratio: float = _setting(0.5, "share of bad records past which a worker stops; 1: never")
    dead_letter_window: int = _setting(5_000, "latest records of which that share is taken")
    dead_letter_run: int = _setting(1_000, "bad records in a row past which a worker stops; 0: never")
    watchdog_seconds: float = _setting(300.0, "a worker that has work and commits nothing for so long ends itself")
    accept_gap: bool = _setting(
        False, "go on although Kafka lost records that were never read; reports say so for good"
    )

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def from_env(cls, environ: Mapping[str, str], file: Path | None = None) -> "Config":
        """The settings of an environment, over those of a file. Raises `ConfigError`."""
        values = _read_file(file) if file is not None else {}
        for name, field in _FIELDS.items():
            variable = PREFIX + name.upper()
            text = environ.get(variable)
            if text is not None:
                values[name] = _parse(variable, field, text)
        return cls(**values)

    @property
    def topics(self) -> Topics:
        """The names of the topics."""
        return topics(self.topic_prefix)

    @property
    def group_id(self) -> str:
        """The consumer group. A namespace of its own has a group of its own, unless the setting says otherwise."""
        if self.group is not None:
            return self.group
        return "mediana" if self.namespace == MAIN_NAMESPACE else f"mediana-{self.namespace}"

    @property
    def lateness(self) -> Lateness:
        """Both lateness windows."""
        return Lateness(round(self.lateness_seconds * 1_000_000), round(self.contact_lateness_days * 86_400_000_000))

    @property
    def redis_address(self) -> str:
        """Where Redis is, without user and password, for people to read."""
        parts = urlsplit(self.redis_url)
        where = parts.hostname or ""
        if parts.port is not None:
            where += f":{parts.port}"
        return f"{parts.scheme}://{self.redis_sentinels or where}{parts.path}"

    def secrets(self) -> tuple[str, ...]:
        """What no line may show: every secret setting, and of a URL the password in it, as written and as meant."""
        found = [str(value) for value in vars(self).values() if isinstance(value, Secret) and value != self.redis_url]
        return (*found, *sorted(url_secrets(self.redis_url)))


def load(environ: Mapping[str, str]) -> Config:
    """The settings of an environment, and of the file that it names in `MEDIANA_CONFIG`. Raises `ConfigError`."""
    named = environ.get(FILE_VARIABLE)
    return Config.from_env(environ, Path(named) if named else None)


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like settings and are none, most likely misspelt."""
    known = {setting.variable for setting in SETTINGS} | {FILE_VARIABLE}
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


class _Field(NamedTuple):
    parse: Callable[[str], Any]
    kinds: tuple[type, ...]
    expected: str


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(text)


_PARSERS: dict[type, _Field] = {
    str: _Field(str, (str,), "a text"),
    Secret: _Field(Secret, (str,), "a text"),
    Path: _Field(Path, (str,), "a path"),
    int: _Field(int, (int,), "a whole number"),
    float: _Field(float, (int, float), "a number"),
    bool: _Field(_boolean, (bool,), "true or false"),
}


def _fields() -> dict[str, tuple[_Field, bool]]:
    found: dict[str, tuple[_Field, bool]] = {}
    for name, hint in typing.get_type_hints(Config).items():
        parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        found[name] = (_PARSERS[parts[0]], types.NoneType in parts)
    return found


_FIELDS = _fields()

SETTINGS: tuple[Setting, ...] = tuple(
    Setting(
        variable=PREFIX + field.name.upper(),
        name=field.name,
        default=field.default,
        meaning=field.metadata["meaning"],
        secret=_FIELDS[field.name][0].parse is Secret,
    )
    for field in dataclasses.fields(Config)
)


def _parse(variable: str, field: tuple[_Field, bool], text: str) -> Any:
    kind, optional = field
    if not text and optional:
        return None
    try:
        return kind.parse(text)
    except ValueError:
        # Never the value itself: it may be a secret put into the wrong variable.
        raise ConfigError(variable, f"must be {kind.expected}") from None


def _read_file(file: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(str(file), toml_problem(error)) from None
    values: dict[str, Any] = {}
    for name, value in content.items():
        if name not in _FIELDS:
            raise ConfigError(f"{file}: {name}", "is no setting")
        kind, _ = _FIELDS[name]
        # A TOML `true` is no number, though Python's is.
        if not isinstance(value, kind.kinds) or (isinstance(value, bool) and bool not in kind.kinds):
            raise ConfigError(f"{file}: {name}", f"must be {kind.expected}")
        parse: Callable[[Any], Any] = kind.parse
        values[name] = value if isinstance(value, bool) else parse(value)
    return values


_BOUNDS: Mapping[str, tuple[float, float]] = {
    "partitions": (1, MAX_PARTITIONS),
    # 100 years: more days than that are not in any calendar's future.
    "retention_days": (1, 36_500),
    "agents": (1, 10_000),
    "batch_events": (1, 1_000_000),
    "batch_bytes": (1, 1 << 30),
    "batch_memory": (1 << 20, 1 << 40),
    "batch_seconds": (0.01, 3600),
    "cache_bytes": (1, 1 << 40),
    "dead_letter_window": (1, 10_000_000),
    "cache_contacts": (1, 1_000_000_000),
    "cache_days": (1, 1_000_000_000),
    "cache_accounts": (1, 1_000_000_000),
    "ingest_requests": (1, 10_000),
    "lateness_seconds": (0, 1_000_000_000),
    "contact_lateness_days": (0, 36_500),
    "snapshot_history": (0, 10_000),
    "dead_letter_ratio": (0, 1),
    "dead_letter_run": (0, 1_000_000_000),
    "http_rate_per_second": (0, 1_000_000_000),
    "redis_timeout_seconds": (0.1, 3600),
    # What a broker takes at most, unless it was told otherwise.
    "kafka_session_timeout_seconds": (0.1, 1800),
    "watchdog_seconds": (0.1, 1_000_000_000),
    "snapshot_interval_seconds": (0.1, 1_000_000_000),
}
"""Least and most of every setting that is a number, ports apart."""


def _check(config: Config) -> None:
    for name, allowed in (
        ("kafka_security_protocol", _SECURITY_PROTOCOLS),
        ("kafka_sasl_mechanism", _SASL_MECHANISMS),
        ("log_level", _LOG_LEVELS),
        ("log_format", _LOG_FORMATS),
    ):
        if getattr(config, name) not in allowed:
            raise ConfigError(PREFIX + name.upper(), f"must be one of {', '.join(allowed)}")
    for name in ("namespace", "topic_prefix"):
        if not _NAME.fullmatch(getattr(config, name)):
            raise ConfigError(PREFIX + name.upper(), "must be letters, digits, dots, dashes and underscores")
    for name, (least, most) in _BOUNDS.items():
        _within(config, name, least, most)
    for name in (name for name in _FIELDS if name.endswith("_port")):
        if not 0 <= getattr(config, name) <= 65_535:
            raise ConfigError(PREFIX + name.upper(), "must be a port, 0 to 65535")
    for name in ("namespace", "topic_prefix", "group"):
        if len(getattr(config, name) or "") > MAX_NAME:
            raise ConfigError(PREFIX + name.upper(), f"must have at most {MAX_NAME} characters")
    if config.group is not None and not (config.group and config.group.isprintable()):
        raise ConfigError("MEDIANA_GROUP", "must be a name")
    _check_addresses("MEDIANA_KAFKA_BOOTSTRAP", config.kafka_bootstrap)
    if config.redis_sentinels is not None:
        _check_addresses("MEDIANA_REDIS_SENTINELS", config.redis_sentinels)
        if not config.redis_sentinel_service:
            raise ConfigError("MEDIANA_REDIS_SENTINEL_SERVICE", "must be the name that the Sentinels know")
    _check_cron(config)
    _check_redis_url(config.redis_url)
    if config.redis_cluster and config.redis_sentinels is not None:
        raise ConfigError("MEDIANA_REDIS_SENTINELS", "a Cluster has no Sentinels; unset one of the two")
    if config.kafka_security_protocol.startswith("SASL") and (
        config.kafka_sasl_username is None or config.kafka_sasl_password is None
    ):
        raise ConfigError("MEDIANA_KAFKA_SASL_USERNAME", "SASL needs a user and a password")


def _within(config: Config, name: str, least: float, most: float) -> None:
    value = getattr(config, name)
    if value is None:
        return
    if not value >= least:
        raise ConfigError(PREFIX + name.upper(), f"must be at least {least:g}")
    if value > most:
        raise ConfigError(PREFIX + name.upper(), f"must be at most {most:,}")


def _check_addresses(variable: str, text: str) -> None:
    for address in text.split(","):
        try:
            parts = urlsplit(f"//{address.strip()}")
            good = bool(parts.hostname) and parts.port != 0
            good = good and not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
        except ValueError:  # a port that is none
            good = False
        if not good:
            raise ConfigError(variable, "must be addresses, `host:port`, separated by commas")


def _check_redis_url(url: str) -> None:
    """Refuse an address that would be read otherwise than it is meant. Shows none of it: it may hold a password."""
    name = "MEDIANA_REDIS_URL"
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ConfigError(name, "must begin with redis://, rediss:// or unix://")
    if _BREAKS.search(url):  # parsers of addresses leave them out, and have another password then
        raise ConfigError(name, f"has line breaks or control characters; {_ESCAPED}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # A port that is no number is most often the first half of a password with `/`, `#` or `?` in it.
        problem = "cannot be read" if "@" in url else "must have a port of 1 to 65535, or none"
        raise ConfigError(name, f"{problem}; {_ESCAPED}" if "@" in url else problem) from None
    if port == 0:
        raise ConfigError(name, "must have a port of 1 to 65535, or none")
    if "@" in parts.path or "@" in parts.query or parts.fragment or "#" in url:
        raise ConfigError(name, f"has a `/`, `?` or `#` where its user and password stand; {_ESCAPED}")
    if parts.scheme != "unix" and not (parts.hostname and _DATABASE.fullmatch(parts.path)):
        raise ConfigError(name, f"must be redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]; {_ESCAPED}")


_ESCAPED = (
    "write `%`, `/`, `?`, `#`, `@`, `:` and the like in a password as %25, %2F, %3F, %23, %40, %3A, "
    "or put the password alone, as it is, into MEDIANA_REDIS_PASSWORD"
)
_BREAKS = re.compile(r"[\x00-\x1f\x7f]")
_DATABASE = re.compile(r"/?[0-9]{0,9}")


def _check_cron(config: Config) -> None:
    if config.snapshot_cron == Config.snapshot_cron:
        return
    from streams.cron import CronError, check_schedule

    try:
        check_schedule(config.snapshot_cron)
    except CronError:
        raise ConfigError(
            "MEDIANA_SNAPSHOT_CRON", "must be a schedule of cron that comes, such as 0 */4 * * *"
        ) from None
