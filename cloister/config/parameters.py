"""The names of an experiment's parameters: nested tables read as dotted keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cloister.config.spec import ExperimentSpec


def flatten(table: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables as dotted keys; `{literal: x}` is a value and not a table."""
    return {".".join(path): value for path, value in leaves(table)}


def leaves(
    table: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value that is not a table, with the path of its keys."""
    for key, value in table.items():
        inner = (*path, str(key))
        if isinstance(value, Mapping) and not is_literal(value):
            yield from leaves(value, inner)
        else:
            yield inner, value


def is_literal(value: object) -> bool:
    return isinstance(value, Mapping) and set(value) == {"literal"}


def parameter_names(spec: ExperimentSpec) -> list[str]:
    """Every parameter that some point may have, in the order of the configuration."""
    tables = (spec.parameters, spec.sweep, *spec.points)
    return list(dict.fromkeys(name for table in tables for name in flatten(table)))
