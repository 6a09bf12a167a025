"""Whether Kafka refuses our user; tests/integration/test_security.py asks real brokers with wrong passwords."""

from streams.config import Config, Secret
from streams.kafka.auth import login_refusal


async def test_who_shows_no_password_is_refused_for_none() -> None:
    assert await login_refusal(Config(kafka_bootstrap="127.0.0.1:1")) is None


async def test_brokers_that_are_away_refuse_nobody() -> None:
    config = Config(
        kafka_bootstrap="127.0.0.1:1, [::1]:1,localhost:1",
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_mechanism="PLAIN",
        kafka_sasl_username="mediana",
        kafka_sasl_password=Secret("hunter2"),
    )
    assert await login_refusal(config) is None
