"""The OpenAPI document: made of the code, whole, and true of what the server answers."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from schemas.lists import LISTS
from streams.snapshots.reader import Newest
from streams.web.api import add_api
from streams.web.openapi import FILE, document
from streams.web.server import create_web_app
from tests.support.fake_reader import FakeReader

DOCUMENT: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))


def refuse(schema: str, instance: object) -> None:
    """Raise if `instance` is not what the schema of that name says."""
    whole = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(whole).validate(instance)


def references(part: object) -> set[str]:
    if isinstance(part, dict):
        here = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return here.union(*map(references, part.values()))
    return set().union(*map(references, part)) if isinstance(part, list) else set()


def media() -> list[tuple[str, dict[str, Any]]]:
    """Every content of every answer, with where it stands."""
    found = []
    for path, item in DOCUMENT["paths"].items():
        for status, answer in item["get"]["responses"].items():
            answer = resolved(answer["$ref"]) if "$ref" in answer else answer
            found += [(f"{path} {status} {kind}", content) for kind, content in answer.get("content", {}).items()]
    return found


def resolved(reference: str) -> Any:
    found: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def test_the_file_is_what_the_code_says() -> None:
    assert document() == DOCUMENT, "run: python -m streams.web.openapi"


def test_every_route_of_the_api_is_described_and_nothing_else() -> None:
    app = web.Application()
    add_api(app)
    assert set(DOCUMENT["paths"]) == {resource.canonical for resource in app.router.resources()}


def test_it_is_what_the_standard_asks_for() -> None:
    # The OpenAPI Initiative's own schema of version 3.1 (Apache License 2.0), as published.
    standard = json.loads((Path(__file__).parent / "openapi-3.1.schema.json").read_text(encoding="utf-8"))
    check = jsonschema.Draft202012Validator(standard)
    assert [error.message for error in check.iter_errors(DOCUMENT)] == []
    wrong = {**DOCUMENT, "paths": {"/healthz": {"get": {"responses": {"200": {}}, "parameters": [{"name": "x"}]}}}}
    assert not check.is_valid(wrong)


def test_every_operation_names_its_own_path_parameters_and_has_a_name_of_its_own() -> None:
    operations = [item["get"] for item in DOCUMENT["paths"].values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    for path, item in DOCUMENT["paths"].items():
        given = [resolved(one["$ref"]) for one in item["get"].get("parameters", [])]
        assert {one["name"] for one in given if one["in"] == "path"} == set(re.findall(r"{(\w+)}", path))


def test_every_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        assert resolved(reference) is not None


def test_every_schema_is_one() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(("where", "content"), media(), ids=[where for where, _ in media()])
def test_every_example_is_what_its_schema_says(where: str, content: dict[str, Any]) -> None:
    assert content["schema"], where
    whole = {**content["schema"], "components": DOCUMENT["components"]}
    examples = [content["example"]] if "example" in content else []
    examples += [example["value"] for example in content.get("examples", {}).values()]
    for example in examples:
        jsonschema.Draft202012Validator(whole).validate(example)


def test_a_wrong_answer_is_noticed() -> None:
    with pytest.raises(jsonschema.ValidationError):
        refuse("Error", {"error": {"code": 5, "message": "", "hint": ""}})


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/healthz", "Health"),
        ("/api/v1/accounts", "Accounts"),
        ("/api/v1/accounts/acme/metrics?period=last_7_days&origin=none&advisor=ana", "MetricsOfRange"),
        ("/api/v1/accounts/acme/metrics?period=last_7_days&compare=to-date", "MetricsOfRange"),
        ("/api/v1/accounts/acme/metrics?period=last_7_days&compare=year", "MetricsOfRange"),
        ("/api/v1/accounts/acme/metrics?period=last_7_days&compare=none", "MetricsOfRange"),
        *((f"/api/v1/accounts/acme/lists/{name}?period=last_7_days", "PageOfList") for name in LISTS),
        ("/api/v1/accounts/acme/lists/waiting", "PageOfList"),
        ("/api/v1/accounts/acme/lists/nothing?period=today", "Error"),
        ("/api/v1/accounts/nobody/report", "Error"),
        ("/api/v1/accounts/acme/metrics", "Error"),
    ],
)
async def test_what_the_server_answers_is_what_the_document_says(path: str, schema: str) -> None:
    async with TestClient(TestServer(create_web_app(FakeReader("acme")))) as client:
        refuse(schema, await (await client.get(path)).json())


def test_the_data_of_an_event_is_what_the_document_says() -> None:
    newest = Newest("acme", 7, "2026-11-22T17:03:00.000Z", True)
    refuse("NewRevision", json.loads(msgspec.json.encode(newest)))


async def test_it_is_sent_to_everyone() -> None:
    async with TestClient(TestServer(create_web_app(FakeReader("acme")))) as client:
        response = await client.get("/api/v1/openapi.json")
        assert (response.status, await response.json()) == (200, DOCUMENT)
