"""Settings: where they come from, what is refused, and that secrets stay out of sight."""

import dataclasses
from pathlib import Path

import pytest

from aggregates.history import Lateness
from streams.config import SETTINGS, Config, ConfigError, Secret, load, unknown_variables
from streams.kafka.clients import client_options


def test_without_any_setting_everything_is_on_this_machine() -> None:
    config = Config.from_env({})
    assert (config.kafka_bootstrap, config.redis_url) == ("127.0.0.1:9092", "redis://127.0.0.1:6379/0")
    assert (config.http_host, config.metrics_host) == ("127.0.0.1", "127.0.0.1")
    assert (config.topics.contacts, config.group_id) == ("mediana.contacts", "mediana")
    assert config.lateness == Lateness(3_600_000_000, 30 * 86_400_000_000)


def test_each_kind_of_setting_is_read_from_its_variable() -> None:
    config = Config.from_env(
        {
            "MEDIANA_TOPIC_PREFIX": "acme",
            "MEDIANA_PARTITIONS": "12",
            "MEDIANA_LATENESS_SECONDS": "0.5",
            "MEDIANA_CONTACT_LATENESS_DAYS": "1.5",
            "MEDIANA_REDIS_CLUSTER": "Yes",
            "MEDIANA_KAFKA_SSL_CAFILE": "/etc/ca.pem",
            "MEDIANA_SNAPSHOT_INTERVAL_SECONDS": "",
        }
    )
    assert (config.topic_prefix, config.partitions) == ("acme", 12)
    assert config.lateness == Lateness(500_000, 36 * 3600 * 1_000_000)
    assert (config.redis_cluster, config.kafka_ssl_cafile) == (True, Path("/etc/ca.pem"))
    assert config.snapshot_interval_seconds is None


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mediana.toml"
    file.write_text('partitions = 3\nnamespace = "blue"\nhttp_open = true\nlateness_seconds = 60\n')
    config = load({"MEDIANA_CONFIG": str(file), "MEDIANA_PARTITIONS": "4"})
    assert (config.partitions, config.namespace, config.http_open) == (4, "blue", True)
    assert (config.lateness.conversation_us, config.group_id) == (60_000_000, "mediana-blue")


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("MEDIANA_PARTITIONS", "six", "must be a whole number"),
        ("MEDIANA_PARTITIONS", "0", "must be at least 1"),
        ("MEDIANA_LATENESS_SECONDS", "-1", "must be at least 0"),
        ("MEDIANA_LATENESS_SECONDS", "nan", "must be at least 0"),
        ("MEDIANA_CONTACT_LATENESS_DAYS", "-1", "must be at least 0"),
        ("MEDIANA_REDIS_CLUSTER", "maybe", "must be true or false"),
        ("MEDIANA_HTTP_RATE_PER_SECOND", "-1", "must be at least 0"),
        ("MEDIANA_HTTP_PORT", "70000", "must be a port, 0 to 65535"),
        ("MEDIANA_LOG_LEVEL", "loud", "must be one of debug, info, warning, error"),
        ("MEDIANA_NAMESPACE", "a}b", "must be letters, digits, dots, dashes and underscores"),
        ("MEDIANA_REDIS_URL", "localhost", "must begin with redis://, rediss:// or unix://"),
        ("MEDIANA_KAFKA_SECURITY_PROTOCOL", "TLS", "must be one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
    ],
)
def test_a_bad_value_names_its_variable_and_what_it_must_be(variable: str, value: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_env({variable: value})
    assert (caught.value.setting, caught.value.problem) == (variable, problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("partition = 3", "partition: is no setting"),
        ('partitions = "3"', "partitions: must be a whole number"),
        ("partitions = true", "partitions: must be a whole number"),
        ("http_open = 1", "http_open: must be true or false"),
        ("partitions = ", "is not TOML"),
    ],
)
def test_a_bad_file_names_itself_and_the_setting(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "mediana.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=problem) as caught:
        load({"MEDIANA_CONFIG": str(file)})
    assert str(file) in str(caught.value)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load({"MEDIANA_CONFIG": str(tmp_path / "none.toml")})


def test_secrets_show_in_no_dump_of_the_settings() -> None:
    config = Config.from_env(
        {
            "MEDIANA_REDIS_URL": "rediss://user:hunter2@cache.example:6380/1",
            "MEDIANA_REDIS_PASSWORD": "hunter2",
            "MEDIANA_KAFKA_SASL_PASSWORD": "hunter2",
            "MEDIANA_KAFKA_SSL_KEY_PASSWORD": "hunter2",
        }
    )
    assert "hunter2" not in repr(config)
    assert "hunter2" not in repr(dataclasses.asdict(config))
    assert config.redis_address == "rediss://cache.example:6380/1"
    assert config.redis_password == "hunter2"


def test_a_bad_value_is_never_repeated_for_it_may_be_a_secret() -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_env({"MEDIANA_PARTITIONS": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_sasl_needs_a_user_and_a_password() -> None:
    with pytest.raises(ConfigError, match="SASL needs"):
        Config(kafka_security_protocol="SASL_SSL")


def test_sasl_and_tls_reach_the_clients() -> None:
    config = Config(
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="SCRAM-SHA-512",
        kafka_sasl_username="mediana",
        kafka_sasl_password=Secret("hunter2"),
        kafka_ssl_check_hostname=False,
    )
    options = client_options(config)
    assert (options["sasl_mechanism"], options["sasl_plain_username"]) == ("SCRAM-SHA-512", "mediana")
    assert options["sasl_plain_password"] == "hunter2"
    assert options["ssl_context"].check_hostname is False
    assert "ssl_context" not in client_options(Config())


def test_every_setting_has_a_variable_of_its_own_and_a_meaning() -> None:
    assert len({setting.variable for setting in SETTINGS}) == len(dataclasses.fields(Config)) == len(SETTINGS)
    assert all(setting.meaning for setting in SETTINGS)
    assert [setting.variable for setting in SETTINGS if setting.secret] == [
        "MEDIANA_KAFKA_SASL_PASSWORD",
        "MEDIANA_KAFKA_SSL_KEY_PASSWORD",
        "MEDIANA_REDIS_URL",
        "MEDIANA_REDIS_PASSWORD",
        "MEDIANA_REDIS_SENTINEL_PASSWORD",
    ]


def test_a_misspelt_variable_is_found() -> None:
    assert unknown_variables({"MEDIANA_REDIS_ULR": "x", "MEDIANA_CONFIG": "y", "PATH": "z"}) == ["MEDIANA_REDIS_ULR"]
