"""From a sweep to its trials, in the order in which they run: pure, and seeded."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

from cloister.config.parameters import flatten, is_literal
from cloister.config.spec import ExperimentSpec

# Longer point names are cut and told apart by a hash; file systems allow 255 bytes.
_POINT_NAME_MAX = 120


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One repetition of one point; `parameters` has dotted keys, in the order of the configuration."""

    experiment: str
    parameters: Mapping[str, Any]
    repeat: int
    seed: int

    @property
    def point(self) -> str:
        return point_name(self.parameters)

    @property
    def id(self) -> str:
        return f"{self.experiment}/{self.point}/rep-{self.repeat}"


def point_count(spec: ExperimentSpec) -> int:
    """How many points there are at most, without making them."""
    axes = flatten(spec.sweep).values()
    grid = math.prod(len(values) if isinstance(values, list) else 1 for values in axes)
    return len(spec.points) + (grid if axes or not spec.points else 0)


def _literal(value: Any) -> Any:
    return value["literal"] if is_literal(value) else value


def points(spec: ExperimentSpec) -> list[dict[str, Any]]:
    """All points, sweep first (its first key varies slowest), without exclusions and duplicates."""
    constants = {key: _literal(value) for key, value in flatten(spec.parameters).items()}
    axes = flatten(spec.sweep)
    choices = [
        [_literal(choice) for choice in (values if isinstance(values, list) else [values])]
        for values in axes.values()
    ]
    grid = [
        dict(zip(axes, combination, strict=True)) for combination in itertools.product(*choices)
    ]
    if spec.points and not axes:
        grid = []
    explicit = [
        {key: _literal(value) for key, value in flatten(point).items()} for point in spec.points
    ]
    unwanted = [flatten(entry) for entry in spec.exclude]
    found: dict[str, dict[str, Any]] = {}
    for varied in grid + explicit:
        point = {**constants, **varied}
        if not any(_matches(point, entry) for entry in unwanted):
            found.setdefault(json.dumps(point, sort_keys=True, default=str), point)
    return list(found.values())


def _matches(point: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Whether every value of the entry is the point's, or one of the entry's list is."""
    return all(
        key in point
        and any(
            _equal(point[key], _literal(choice))
            for choice in (value if isinstance(value, list) else [value])
        )
        for key, value in entry.items()
    )


def _equal(one: Any, other: Any) -> bool:
    # 4 and 4.0 are the same setting, 1 and true are not, although Python says so.
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def trials(spec: ExperimentSpec) -> list[Trial]:
    """Every repetition of every point, in running order.

    `random` shuffles the points anew within each repetition, so that repetitions of a point are
    spread over the whole time and drift of the machines does not look like an effect.
    """
    generator = random.Random(spec.seed)
    every = points(spec)
    return list(
        _listed(spec, every) if spec.order == "listed" else _interleaved(spec, every, generator)
    )


def _listed(spec: ExperimentSpec, every: list[dict[str, Any]]) -> Iterator[Trial]:
    for point in every:
        for repeat in range(1, spec.repeats + 1):
            yield _trial(spec, point, repeat)


def _interleaved(
    spec: ExperimentSpec, every: list[dict[str, Any]], generator: random.Random
) -> Iterator[Trial]:
    for repeat in range(1, spec.repeats + 1):
        for point in generator.sample(every, len(every)):
            yield _trial(spec, point, repeat)


def _trial(spec: ExperimentSpec, point: Mapping[str, Any], repeat: int) -> Trial:
    return Trial(
        experiment=spec.name,
        parameters=point,
        repeat=repeat,
        seed=trial_seed(spec.seed, point_name(point), repeat),
    )


def trial_seed(seed: int, point: str, repeat: int) -> int:
    """A seed of 31 bits that does not change when other points are added or the order does."""
    digest = hashlib.sha256(f"{seed}/{point}/{repeat}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def point_name(parameters: Mapping[str, Any]) -> str:
    """A readable file name for a point, `workers=2,payload=64`; distinct points have distinct names.

    The digest is long enough that two of 100,000 cut names are equal once in 50,000 sweeps.
    """
    if not parameters:
        return "point"
    exact = ",".join(f"{key}={_text(value)}" for key, value in parameters.items())
    readable = re.sub(r"[^A-Za-z0-9_.,=+-]", "_", exact)
    if readable == exact and len(exact) <= _POINT_NAME_MAX and not exact.startswith("."):
        return exact
    # Of the values themselves: 1 and "1" read alike and are not.
    values = json.dumps(dict(parameters), sort_keys=True, default=str)
    return f"{readable[:_POINT_NAME_MAX].lstrip('.')}-{hashlib.sha256(values.encode()).hexdigest()[:12]}"


def _text(value: Any) -> str:
    # A string that reads like a number or constant keeps its quotes, so that 1 and "1" differ;
    # so does one with the marks that part one parameter from the next.
    if isinstance(value, str) and not _reads_as_other(value) and not set(value) & {",", "="}:
        return value
    return json.dumps(value, default=str)


def _reads_as_other(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
