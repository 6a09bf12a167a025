"""The published JSON Schemas, generated from the types; `python -m schemas.published` writes them again.

`schemas/json/` holds one file per event type, one for account settings and one for the snapshot document;
`schemas/examples/` one example beside each, under the same name. A test compares both with the code.
"""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from schemas.accounts import CLOSE_PATTERN, DATE_PATTERN, OPENING_PATTERN, WEEKDAYS, AccountSettings
from schemas.events import EVENT_TYPES, BaseEvent, ContactAbsorbed, MessageSent, type_name
from schemas.snapshot import Snapshot

FOLDER = Path(__file__).parent / "json"
EXAMPLES = Path(__file__).parent / "examples"

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ACCOUNT = "account"
SNAPSHOT = "snapshot"


def published_schemas() -> dict[str, dict[str, Any]]:
    """Every published schema under the name of its file: event types, `account`, `snapshot`."""
    schemas = {type_name(struct): _event_schema(struct) for struct in EVENT_TYPES}
    schemas[ACCOUNT] = _account_schema()
    schemas[SNAPSHOT] = _schema(Snapshot, "Snapshot document")
    return schemas


def write(folder: Path = FOLDER) -> list[Path]:
    """Write every schema into `folder` and return the files."""
    folder.mkdir(exist_ok=True)
    written = []
    for name, schema in published_schemas().items():
        path = folder / f"{name}.json"
        path.write_text(render(schema), encoding="utf-8")
        written.append(path)
    return written


def render(schema: dict[str, Any]) -> str:
    """A schema as it stands in its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _event_schema(struct: type[BaseEvent]) -> dict[str, Any]:
    schema = _schema(struct, type_name(struct))
    if struct is MessageSent:
        author = schema["$defs"]["Author"]
        author["if"] = {"properties": {"kind": {"const": "advisor"}}}
        author["then"] = {"required": ["id"], "properties": {"id": {"type": "string"}}}
    if struct is ContactAbsorbed:
        schema["if"] = {"properties": {"waiting_since": {"type": "string"}}, "required": ["waiting_since"]}
        schema["then"] = {"required": ["channel"], "properties": {"channel": {"type": "string"}}}
    if "outcome" in schema["properties"]:
        schema["if"] = {"properties": {"outcome": {"enum": ["accepted", "rejected"]}}}
        schema["then"] = {"required": ["advisor_id"], "properties": {"advisor_id": {"type": "string"}}}
    return schema


def _account_schema() -> dict[str, Any]:
    schema = _schema(AccountSettings, "Account settings")
    version = schema["$defs"]["ScheduleVersion"]["properties"]
    version["weekly"]["propertyNames"] = {"enum": list(WEEKDAYS)}
    version["special_days"]["propertyNames"] = {"pattern": DATE_PATTERN}
    version["holidays"]["items"]["pattern"] = DATE_PATTERN
    for hours in (version["weekly"], version["special_days"]):
        opening, close = hours["additionalProperties"]["items"]["prefixItems"]
        opening["pattern"], close["pattern"] = OPENING_PATTERN, CLOSE_PATTERN
    return _nullable(schema)


def _schema(struct: type[msgspec.Struct], title: str) -> dict[str, Any]:
    """The schema of a struct, its own fields at the top and the structs it uses under `$defs`."""
    (_,), definitions = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    top = definitions.pop(struct.__name__)
    schema = {"$schema": DIALECT, **top, "title": title}
    if definitions:
        schema["$defs"] = definitions
    for part in (schema, *definitions.values()):
        if "description" in part:
            part["description"] = " ".join(str(part["description"]).split())
    return schema


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Settings in which every optional field may be `null`, which means missing."""
    for part in (schema, *schema["$defs"].values()):
        for name, field in part.get("properties", {}).items():
            accepts_null = {"type": "null"} in field.get("anyOf", ())
            if name not in part.get("required", ()) and not accepts_null:
                default = {"default": field.pop("default")} if "default" in field else {}
                part["properties"][name] = {"anyOf": [field, {"type": "null"}], **default}
    return schema


if __name__ == "__main__":
    for file in write():
        print(file.name, file=sys.stderr)
