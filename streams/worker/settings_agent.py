"""Applies records of the accounts topic to the settings in Redis."""

from schemas.accounts import decode_settings_record, encode_settings
from schemas.errors import InvalidSettings
from streams.intake.settings_feed import SettingsBatch
from streams.kafka.dead_letters import DeadLetter, DeadLetters
from streams.kafka.omitted import Omitted
from streams.monitoring.catalogue import WorkerMetrics
from streams.redis.settings_store import Change, RulesStore
from streams.redis.usable_settings import UnusableSettings, compiled


async def take_over_settings(
    batch: SettingsBatch, rules: RulesStore, dead_letters: DeadLetters, metrics: WorkerMetrics
) -> None:
    """Write a batch's settings to Redis; those that cannot be used become dead letters, and the old ones stay.

    Raises `SessionLost`, `Unavailable`.
    """
    changes: list[Change] = []
    letters: list[DeadLetter] = []
    for record in batch.records:
        if isinstance(record.value, Omitted):
            letters.append(DeadLetter(record, record.value.reason, record.value.detail))
            continue
        try:
            settings = decode_settings_record(record.key, record.value)
            if settings is not None:
                compiled(settings.account_id, encode_settings(settings))
            account_id = settings.account_id if settings is not None else (record.key or b"").decode()
        except InvalidSettings as error:
            letters.append(DeadLetter(record, error.reason, error.detail))
        except UnusableSettings as error:
            letters.append(DeadLetter(record, "malformed", str(error)))
        except UnicodeDecodeError:
            letters.append(DeadLetter(record, "malformed", "the key is not UTF-8"))
        else:
            changes.append((account_id, settings))
    if letters:
        await dead_letters.write(letters)
    await rules.take_over(batch.feed.partition.partition, batch.start, batch.end, changes)
    metrics.settings.inc(len(changes))
    for letter in letters:
        metrics.refused_settings.labels(letter.reason).inc()
        metrics.dead_letters.labels(letter.reason).inc()
