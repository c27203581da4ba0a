"""What is wrong with an experiment's parameters before any point is looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from cloister.config.parameters import is_literal, leaves, parameter_names
from cloister.config.spec import ExperimentSpec
from cloister.config.validating import nearest_hint
from cloister.experiment.faults import Fault, Key
from cloister.experiment.templates import NAMES, WORDS
from cloister.experiment.trial import point_count

POINTS_MAX = 100_000
TRIALS_MAX = 1_000_000

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def parameter_faults(spec: ExperimentSpec) -> list[Fault]:
    return [*_of_names(spec), *_of_tables(spec), *_of_exclusions(spec), *_of_size(spec)]


def _tables(spec: ExperimentSpec) -> Iterator[tuple[Key, Mapping[str, Any]]]:
    yield ("parameters",), spec.parameters
    yield ("sweep",), spec.sweep
    yield from ((("points", index), point) for index, point in enumerate(spec.points))


def _of_names(spec: ExperimentSpec) -> Iterator[Fault]:
    """Each bad name once, however many points use it."""
    every = set(parameter_names(spec))
    seen: set[str] = set()
    for at, table in _tables(spec):
        here: set[str] = set()
        for path, _ in leaves(table):
            name = ".".join(path)
            if name in here:
                message = f"the parameter {name!r} is given twice, nested and with dots"
                yield Fault(key=(*at, *path), message=message)
            elif name not in seen and (message := _bad_name(name, every)):
                yield Fault(key=(*at, *path), message=message, hint="rename the parameter")
            here.add(name)
            seen.add(name)


def _bad_name(name: str, every: set[str]) -> str:
    parts = name.split(".")
    if parts[0] in NAMES:
        return f"{parts[0]!r} means something else in templates: {', '.join(NAMES)} are taken"
    for part in parts:
        if part == "literal":
            return "`literal` must be the only key of its table"
        if not _WORD.fullmatch(part):
            return f"a parameter's name has letters, digits and _, found {part!r}"
        if part in WORDS:
            return f"{part!r} is a word of the template language"
    tables = (".".join(parts[:length]) for length in range(1, len(parts)))
    table = next((table for table in tables if table in every), "")
    return f"{table!r} is a parameter itself, so it cannot hold {name!r}" if table else ""


def _of_tables(spec: ExperimentSpec) -> Iterator[Fault]:
    for path, values in leaves(spec.sweep):
        if values == []:
            message = "a sweep over an empty list has no points"
            yield Fault(key=("sweep", *path), message=message)
    for at, table in _tables(spec):
        for path in _empty_tables(table, ()):
            yield Fault(key=(*at, *path), message="expected parameters, found an empty table")


def _empty_tables(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for key, value in table.items():
        if isinstance(value, Mapping) and not is_literal(value):
            if value:
                yield from _empty_tables(value, (*path, key))
            else:
                yield (*path, key)


def _of_exclusions(spec: ExperimentSpec) -> Iterator[Fault]:
    known = parameter_names(spec)
    for index, entry in enumerate(spec.exclude):
        if not entry:
            message = "an exclusion without parameters leaves out every point"
            yield Fault(key=("exclude", index), message=message)
        for path, _ in leaves(entry):
            name = ".".join(path)
            if name not in known:
                yield Fault(
                    key=("exclude", index, *path),
                    message=f"there is no parameter {name!r}",
                    hint=nearest_hint(name, known),
                )


def _of_size(spec: ExperimentSpec) -> Iterator[Fault]:
    count = point_count(spec)
    if count > POINTS_MAX:
        message = f"{count} points, at most {POINTS_MAX} are possible"
        yield Fault(key=("sweep",), message=message)
    elif count * spec.repeats > TRIALS_MAX:
        message = (
            f"{count} points, {spec.repeats} times each: at most {TRIALS_MAX} trials are possible"
        )
        yield Fault(key=("repeats",), message=message)
