"""The JSON Schema describes what `load` accepts, short forms and all."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from cloister.config.sample import sample_configuration
from cloister.config.schema import json_schema


def conforms(value: Any, schema: Any, whole: dict[str, Any]) -> bool:
    """As much of JSON Schema as the models need."""
    if "$ref" in schema:
        return conforms(value, whole["$defs"][schema["$ref"].split("/")[-1]], whole)
    if "anyOf" in schema:
        return any(conforms(value, option, whole) for option in schema["anyOf"])
    if "const" in schema:
        return bool(value == schema["const"])
    if "enum" in schema:
        return value in schema["enum"]
    match schema.get("type"):
        case "object":
            return isinstance(value, dict) and _object_conforms(value, schema, whole)
        case "array":
            return isinstance(value, list) and all(
                conforms(entry, schema.get("items", {}), whole) for entry in value
            )
        case "string":
            return isinstance(value, str) and bool(re.search(schema.get("pattern", ""), value))
        case "integer":
            is_whole = isinstance(value, int) and not isinstance(value, bool)
            return is_whole and schema.get("minimum", value) <= value
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case _:
            return True


def _object_conforms(value: dict[str, Any], schema: Any, whole: dict[str, Any]) -> bool:
    if not set(schema.get("required", [])) <= set(value):
        return False
    return all(_entry_conforms(key, entry, schema, whole) for key, entry in value.items())


def _entry_conforms(key: str, entry: Any, schema: Any, whole: dict[str, Any]) -> bool:
    if key in schema.get("properties", {}):
        return conforms(entry, schema["properties"][key], whole)
    for pattern, inner in schema.get("patternProperties", {}).items():
        if re.search(pattern, key):
            return conforms(entry, inner, whole)
    others = schema.get("additionalProperties", "patternProperties" not in schema)
    return others if isinstance(others, bool) else conforms(entry, others, whole)


def test_the_sample_conforms_to_the_schema() -> None:
    schema = json_schema()
    assert conforms(yaml.safe_load(sample_configuration()), schema, schema)


def test_the_schema_tells_right_from_wrong() -> None:
    schema = json_schema()
    process = {"role": "w", "command": "true"}

    def ok(**data: Any) -> bool:
        return conforms(data, schema, schema)

    assert ok(include=["a.yaml"])
    assert ok(cluster={"name": "d", "roles": {"w": 3, "m": {"same_as": "w"}}})
    assert not ok(cluster={"name": "d", "roles": {"w": "3"}})
    assert not ok(cluster={"name": "D"})
    assert not ok(cluster={"nam": "d"})
    assert ok(experiments=[{"name": "e", "timeout": "1m30s", "processes": {"p": process}}])
    assert ok(experiments=[{"name": "e", "timeout": 90, "processes": {"p": process}}])
    assert not ok(experiments=[{"name": "e", "timeout": "soon", "processes": {"p": process}}])
    assert ok(experiments=[{"name": "e", "processes": {"p": {**process, "nodes": "{{ n }}"}}}])
    assert not ok(experiments=[{"name": "e", "processes": {"p": {**process, "nodes": "n"}}}])


def test_the_schema_is_json_with_titles_and_descriptions() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["title"] == "Cloister configuration"
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert list(schema["properties"])[:2] == ["$schema", "include"]
    assert '"ge"' not in json.dumps(schema)
    described = schema["$defs"]["ExperimentSpec"]["properties"]["repeats"]
    assert described["title"] == "Repeats"


def test_a_configuration_may_name_its_schema() -> None:
    schema = json_schema()
    assert conforms({"$schema": "cloister.schema.json"}, schema, schema)
