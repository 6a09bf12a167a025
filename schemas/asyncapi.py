"""The AsyncAPI document of what goes in, made from the types; `python -m schemas.asyncapi` writes it again.

`docs/reference/asyncapi.json` describes the three topics that are read: their keys, messages with an example each, and
schemas.
Schemas stand in it whole, so that the one file is all a tool needs. A test compares it with the code.
"""

import json
import sys
from pathlib import Path
from typing import Any

from schemas.events import EVENT_TYPES, type_name
from schemas.published import ACCOUNT, EXAMPLES, published_schemas, render
from schemas.topics import topics

FILE = Path(__file__).parents[1] / "docs" / "reference" / "asyncapi.json"

_ID = {"type": "string", "minLength": 1, "maxLength": 256}


def document() -> dict[str, Any]:
    """The AsyncAPI 3.0 document."""
    names = topics()
    by_topic: dict[str, list[str]] = {"contacts": [], "conversations": []}
    for struct in EVENT_TYPES:
        by_topic[struct.topic].append(type_name(struct))
    channels = {
        "contacts": _channel(names.contacts, "What happens to contacts. Keyed by contact.", by_topic["contacts"]),
        "conversations": _channel(
            names.conversations, "What happens in conversations. Keyed by contact.", by_topic["conversations"]
        ),
        "accounts": _channel(names.accounts, "Each account's settings, whole. Compacted, keyed by account.", [ACCOUNT]),
    }
    schemas = published_schemas()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Mediana: what to send",
            "version": "1",
            "description": "Events and account settings that Mediana reads from Kafka. docs/use/events.md explains "
            "them. "
            "Both event topics need equally many partitions and the same partitioner.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": {
            f"read-{name}": {
                "action": "receive",
                "channel": {"$ref": f"#/channels/{name}"},
                "messages": [{"$ref": f"#/channels/{name}/messages/{message}"} for message in channel["messages"]],
            }
            for name, channel in channels.items()
        },
        "components": {
            "messages": {
                name: _message(name, schemas[name])
                for name in [*by_topic["contacts"], *by_topic["conversations"], ACCOUNT]
            }
        },
    }


def _channel(address: str, description: str, messages: list[str]) -> dict[str, Any]:
    return {
        "address": address,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }


def _message(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    key = "account_id" if name == ACCOUNT else "contact_id"
    return {
        "name": name,
        "title": schema["title"],
        "summary": schema["description"],
        "contentType": "application/json",
        "bindings": {"kafka": {"key": {**_ID, "description": f"the {key} of the value"}, "bindingVersion": "0.5.0"}},
        "payload": _embedded(schema, f"#/components/messages/{name}/payload"),
        "examples": [{"payload": json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))}],
    }


def _embedded(schema: dict[str, Any], where: str) -> dict[str, Any]:
    """A schema inside the document: what it refers to lies deeper now, and its dialect is the document's."""
    text = json.dumps({name: value for name, value in schema.items() if name != "$schema"})
    # Draft 7, which AsyncAPI builds on, says `items` and `definitions` for what later drafts gave new names.
    text = text.replace('"#/$defs/', f'"{where}/definitions/').replace('"$defs": ', '"definitions": ')
    embedded: dict[str, Any] = json.loads(
        text.replace('"prefixItems": ', '"items": '), object_pairs_hook=_without_doubles
    )
    return embedded


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which `items` stands once: where a tuple is spelt out, `items: false` only says "and no more"."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name == "items" and value is False:
            found["additionalItems"] = False
        else:
            found[name] = value
    return found


if __name__ == "__main__":
    FILE.write_text(render(document()), encoding="utf-8")
    print(FILE.name, file=sys.stderr)
