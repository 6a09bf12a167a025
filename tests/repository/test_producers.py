"""What upstream teams copy: the examples of producers, and the AsyncAPI document. That they work on a real Kafka is
shown in tests/integration/test_ingest.py."""

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator  # type: ignore[import-untyped]  # it has none

from schemas.asyncapi import FILE, document
from schemas.events import EVENT_TYPES, type_name
from schemas.published import render
from schemas.topics import topics
from tests import programs

EXAMPLES = Path(__file__).parents[2] / "docs" / "use" / "producers"


def source(name: str) -> str:
    return (EXAMPLES / name).read_text(encoding="utf-8")


# --- producers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("producer.py", ["enable_idempotence=True", 'acks="all"', 'event["contact_id"].encode()']),
        ("Producer.java", ["ENABLE_IDEMPOTENCE_CONFIG, true", 'ACKS_CONFIG, "all"', "text(CONTACT, line), line"]),
        (
            "producer.mjs",
            ["idempotent: true", "maxInFlightRequests: 1", "acks: -1", "key: event.contact_id", "DefaultPartitioner"],
        ),
    ],
)
def test_every_example_is_idempotent_waits_for_all_replicas_and_keys_by_contact(name: str, wanted: list[str]) -> None:
    assert [text for text in wanted if text not in source(name)] == []


def test_the_python_example_compiles() -> None:
    compile(source("producer.py"), "producer.py", "exec")


def test_the_node_example_is_valid() -> None:
    subprocess.run([programs.need("Node 18 or newer"), "--check", EXAMPLES / "producer.mjs"], check=True, timeout=60)


# --- AsyncAPI ---------------------------------------------------------------------------------------------------------


def test_the_committed_document_is_that_of_the_code() -> None:
    assert FILE.read_text(encoding="utf-8") == render(document()), "run: python -m schemas.asyncapi"


def test_every_topic_that_is_read_and_every_type_stands_in_it_once() -> None:
    made = document()
    names = topics()
    assert [channel["address"] for channel in made["channels"].values()] == [
        names.contacts,
        names.conversations,
        names.accounts,
    ]
    messages = [name for channel in made["channels"].values() for name in channel["messages"]]
    assert messages == [*(type_name(struct) for struct in EVENT_TYPES), "account"]
    assert list(made["components"]["messages"]) == messages


def references(part: object) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [found for value in part.values() for found in references(value)]
    if isinstance(part, list):
        return [found for value in part for found in references(value)]
    return []


def at(root: Any, pointer: str) -> Any:
    for name in pointer.removeprefix("#/").split("/"):
        root = root[name]
    return root


def test_every_reference_leads_somewhere() -> None:
    made = document()
    found = references(made)
    assert len(found) > 30
    for pointer in found:
        assert at(made, pointer) is not None


@pytest.mark.parametrize("name", [*(type_name(struct) for struct in EVENT_TYPES), "account"])
def test_an_example_fits_the_schema_inside_and_a_broken_one_does_not(name: str) -> None:
    made = document()
    message = made["components"]["messages"][name]
    # The references inside are those of the whole document.
    schema = {"$ref": f"#/components/messages/{name}/payload", "components": made["components"]}
    Draft7Validator.check_schema(message["payload"])
    validator = Draft7Validator(schema)
    example = message["examples"][0]["payload"]
    assert validator.is_valid(example)
    assert not validator.is_valid({**example, "account_id": ""})
    if name == "account":
        broken = copy.deepcopy(example)
        next(iter(broken["schedules"].values()))[0]["weekly"]["mon"] = [["9 o'clock", "13:00"]]
        assert not validator.is_valid(broken)


def test_no_part_of_a_later_dialect_is_left_in_it() -> None:
    text = json.dumps(document())
    assert [word for word in ("$defs", "prefixItems", "2020-12") if word in text] == []
