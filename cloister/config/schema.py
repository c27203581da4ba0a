"""The JSON Schema of configurations, so that editors complete and check them."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from cloister.config.fields import seconds
from cloister.config.spec import ConfigurationSpec

_DIALECT = GenerateJsonSchema.schema_dialect
_DURATION_TEXT = {
    "type": "string",
    "pattern": r"^\s*(\d+(\.\d+)?(ms|s|m|h|d))+\s*$",
    "examples": ["500ms", "10s", "1h30m"],
}


def json_schema() -> dict[str, Any]:
    """For YAML, JSON and TOML alike; each file is described as if it held everything."""
    schema = _without_strays(ConfigurationSpec.model_json_schema(schema_generator=_Generator))
    schema["$defs"]["RoleSpec"] = _role(schema["$defs"]["RoleSpec"])
    schema["properties"] = {
        "$schema": {
            "type": "string",
            "title": "Schema",
            "description": "Where this schema is, for editors; cloister does not look at it.",
        },
        "include": {
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "title": "Include",
            "description": "Further configuration files, relative to this one; this one's values win.",
        },
        **schema["properties"],
    }
    return {"$schema": _DIALECT, **schema, "title": "Cloister configuration"}


class _Generator(GenerateJsonSchema):
    """Knows that validators of the models accept `10s` for a number of seconds."""

    def function_before_schema(
        self, schema: core_schema.BeforeValidatorFunctionSchema
    ) -> JsonSchemaValue:
        number = super().function_before_schema(schema)
        is_duration = schema["function"]["function"] is seconds
        return {"anyOf": [{"minimum": 0, **number}, _DURATION_TEXT]} if is_duration else number


def _role(table: dict[str, Any]) -> dict[str, Any]:
    """Its short form, `workers: 3`, is a count."""
    return {"title": table.pop("title"), "anyOf": [table["properties"]["count"], table]}


def _without_strays(schema: Any) -> Any:
    """Pydantic writes a limit of a validated number as `ge`, which no editor knows."""
    match schema:
        case dict():
            return {
                key: _without_strays(value)
                for key, value in schema.items()
                if key != "ge" or "anyOf" not in schema
            }
        case list():
            return [_without_strays(entry) for entry in schema]
        case _:
            return schema
