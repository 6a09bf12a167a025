"""The published JSON Schemas and examples: complete, equal to the code, and as strict as the decoder."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker  # type: ignore[import-untyped]  # it has none

from schemas.accounts import decode_settings_record
from schemas.errors import InvalidEvent
from schemas.events import EVENT_TYPES, decode_event, decode_record, instant_us, type_name
from schemas.published import ACCOUNT, EXAMPLES, FOLDER, SNAPSHOT, published_schemas, render
from streams.cli.main import main

NOW = "2026-11-22T18:00:00Z"
EVENT_NAMES = [type_name(struct) for struct in EVENT_TYPES]
NAMES = [*EVENT_NAMES, ACCOUNT, SNAPSHOT]


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=FormatChecker())


def example(name: str) -> dict[str, Any]:
    found = json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def undescribed(document: object, schema: dict[str, Any], root: dict[str, Any], where: str = "$") -> Iterator[str]:
    """The fields of a document that its schema does not name, though it names others beside them."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    for choice in schema.get("anyOf", ()):
        if choice != {"type": "null"}:
            schema = {**choice, **(root["$defs"][choice["$ref"].rpartition("/")[2]] if "$ref" in choice else {})}
    if isinstance(document, list):
        for item in document:
            yield from undescribed(item, schema.get("items") or {}, root, f"{where}[]")
    if isinstance(document, dict):
        for name, value in document.items():
            if name in schema.get("properties", {}):
                yield from undescribed(value, schema["properties"][name], root, f"{where}.{name}")
            elif "additionalProperties" in schema:
                yield from undescribed(value, schema["additionalProperties"], root, f"{where}.*")
            else:
                yield f"{where}.{name}"


def test_there_is_one_schema_and_one_example_for_each_type_and_none_besides() -> None:
    for folder in (FOLDER, EXAMPLES):
        assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.json" for name in NAMES)


def test_the_committed_schemas_are_those_of_the_code() -> None:
    stale = [
        name
        for name, schema in published_schemas().items()
        if (FOLDER / f"{name}.json").read_text(encoding="utf-8") != render(schema)
    ]
    assert stale == [], "run: python -m schemas.published"


@pytest.mark.parametrize("name", NAMES)
def test_every_example_is_valid_under_its_schema(name: str) -> None:
    validator(name).validate(example(name))


@pytest.mark.parametrize("name", EVENT_NAMES)
def test_every_example_event_is_decoded_as_its_type_from_its_own_key(name: str) -> None:
    document = example(name)
    value = json.dumps(document).encode()
    event = decode_event(value)
    assert type_name(event) == name
    at_ms = instant_us(event.occurred_at) // 1000
    assert decode_record(event.topic, document["contact_id"].encode(), value, at_ms) == event


def test_the_example_settings_are_decoded_from_their_own_key() -> None:
    document = example(ACCOUNT)
    settings = decode_settings_record(document["account_id"].encode(), json.dumps(document).encode())
    assert settings is not None
    assert settings.groups["ventas"].name == "Ventas"


@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_an_example_is_described(name: str) -> None:
    schema = published_schemas()[name]
    assert sorted(set(undescribed(example(name), schema, schema))) == []


def test_a_field_that_no_schema_names_is_noticed() -> None:
    schema = published_schemas()[SNAPSHOT]
    document = example(SNAPSHOT)
    document["periods"]["today"]["metrics"]["mood"] = 1
    assert list(undescribed(document, schema, schema)) == ["$.periods.today.metrics.mood"]


@pytest.mark.parametrize("name", EVENT_NAMES)
def test_schema_and_decoder_agree_on_every_missing_field(name: str) -> None:
    document = example(name)
    schema = validator(name)
    for field in document:
        fewer = {key: value for key, value in document.items() if key != field}
        assert schema.is_valid(fewer) == decodes(fewer), field


@pytest.mark.parametrize("name", EVENT_NAMES)
@pytest.mark.parametrize("value", [None, "", 7, -1.5, True, [], {}, "Ünïcode", "x" * 2000])
def test_schema_and_decoder_agree_on_every_other_value(name: str, value: object) -> None:
    document = example(name)
    schema = validator(name)
    for field in document:
        # A format is only a hint in JSON Schema; an unknown type is no error.
        if field not in ("type", "occurred_at", "waiting_since"):
            changed = {**document, field: value}
            assert schema.is_valid(changed) == decodes(changed), field


@pytest.mark.parametrize(
    "author", [{"kind": "advisor"}, {"kind": "advisor", "id": None}, {"kind": "bot"}, {"kind": "bot", "id": "b"}, {}]
)
def test_schema_and_decoder_agree_on_authors(author: dict[str, object]) -> None:
    document = {**example("message.sent"), "author": author}
    assert validator("message.sent").is_valid(document) == decodes(document)


@pytest.mark.parametrize("outcome", ["accepted", "rejected", "missed"])
def test_schema_and_decoder_agree_on_calls_by_nobody(outcome: str) -> None:
    document = {**example("call.logged"), "outcome": outcome, "advisor_id": None}
    assert validator("call.logged").is_valid(document) == decodes(document) == (outcome == "missed")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("weekly", {"lun": []}),
        ("weekly", {"mon": [["9:00", "18:00"]]}),
        ("weekly", {"mon": [["09:00"]]}),
        ("holidays", ["25/12/2026"]),
        ("special_days", {"24/12/2026": []}),
    ],
)
def test_the_schema_of_settings_refuses_a_schedule_that_the_decoder_refuses(field: str, value: object) -> None:
    document = example(ACCOUNT)
    document["schedules"]["oficina"][0][field] = value
    assert not validator(ACCOUNT).is_valid(document)


def test_optional_settings_may_be_null() -> None:
    document = example(ACCOUNT)
    validator(ACCOUNT).validate(dict.fromkeys(document) | {"account_id": "andes"})


def test_the_example_snapshot_keeps_the_promises_of_the_document() -> None:
    for period in example(SNAPSHOT)["periods"].values():
        metrics = period["metrics"]
        assert sum(metrics["new_contacts"]["by_day"].values()) == metrics["new_contacts"]["total"]
        assert sum(sum(hours) for hours in metrics["heatmap"].values()) == metrics["new_conversations"]["total"]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments that replay ten simulated days of an account."""
    out = tmp_path_factory.mktemp("simulated") / "events.jsonl"
    assert main(["simulate", "--days", "10", "--contacts-per-day", "15", "--now", NOW, "--out", str(out)]) == 0
    accounts = str(out.with_suffix(".accounts.jsonl"))
    return ["replay", str(out), "--accounts", accounts, "--account", "andes", "--now", NOW]


def test_a_real_document_is_valid_and_wholly_described(
    simulated: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(simulated) == 0
    document = json.loads(capsys.readouterr().out)
    validator(SNAPSHOT).validate(document)
    schema = published_schemas()[SNAPSHOT]
    assert sorted(set(undescribed(document, schema, schema))) == []


@pytest.mark.parametrize("filters", [[], ["--advisor", "ana"], ["--group", "none"], ["--channel", "nothing"]])
def test_the_metrics_of_a_range_are_valid_and_wholly_described(
    simulated: list[str], filters: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*simulated, "--from", "2026-11-13", "--to", "2026-11-22", *filters]) == 0
    document = json.loads(capsys.readouterr().out)
    schema = published_schemas()[SNAPSHOT]
    metrics = {"$ref": "#/$defs/Metrics", "$defs": schema["$defs"]}
    Draft202012Validator(metrics).validate(document)
    assert sorted(set(undescribed(document, metrics, metrics))) == []


def decodes(document: dict[str, Any]) -> bool:
    try:
        decode_event(json.dumps(document))
    except InvalidEvent:
        return False
    return True
