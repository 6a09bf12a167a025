"""Tells whether Kafka refuses our user, because aiokafka's clients only say that they could not connect."""

import asyncio
from urllib.parse import urlsplit

from aiokafka.conn import create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from streams.config import Config
from streams.kafka.clients import client_options

PATIENCE_SECONDS = 10.0
"""How long one broker may take to answer a login."""

_USER = "look at MEDIANA_KAFKA_SASL_USERNAME and MEDIANA_KAFKA_SASL_PASSWORD"
_USUAL_PORT = 9092
_MECHANISM = "look at MEDIANA_KAFKA_SASL_MECHANISM"


async def login_refusal(config: Config) -> str | None:
    """Why Kafka refuses our user, and what to mend; `None` when it does not, or when no broker answers.

    Asks the brokers of the settings one after the other, as a client that connects does. Names no secret.
    """
    if not config.kafka_security_protocol.startswith("SASL"):
        return None
    options = client_options(config)
    options["request_timeout_ms"] = round(PATIENCE_SECONDS * 1000)
    for address in options.pop("bootstrap_servers").split(","):
        broker = urlsplit(f"kafka://{address.strip()}")
        host, port = broker.hostname or "", broker.port or _USUAL_PORT
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                connection = await create_conn(host, port, client_id="mediana-login", **options)
        except SaslAuthenticationFailed as error:
            return f"{_told(error)}; {_USER}"
        except (UnsupportedSaslMechanismError, IllegalSaslStateError):
            return f"it does not know {config.kafka_sasl_mechanism}; {_MECHANISM}"
        except (KafkaError, OSError, TimeoutError):
            continue  # this one is away, or not a broker: perhaps the next one answers
        connection.close()
        return None
    return None


def _told(error: SaslAuthenticationFailed) -> str:
    """The broker's own words, which name no password."""
    return str(error.args[0]) if error.args and error.args[0] else "user or password is wrong"
