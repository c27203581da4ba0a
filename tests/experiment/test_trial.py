"""From a sweep to its trials: which points, in which order, with which names and seeds."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloister.config.spec import ExperimentSpec
from cloister.experiment.trial import point_count, point_name, points, trial_seed, trials


def experiment(**keys: Any) -> ExperimentSpec:
    return ExperimentSpec.model_validate(
        {"name": "e", "processes": {"p": {"role": "w", "command": "true"}}, **keys}
    )


POINTS: list[tuple[str, dict[str, Any], list[dict[str, Any]]]] = [
    ("nothing given", {}, [{}]),
    ("constants alone", {"parameters": {"a": 1, "b": [1, 2]}}, [{"a": 1, "b": [1, 2]}]),
    ("one axis", {"sweep": {"a": [1, 2]}}, [{"a": 1}, {"a": 2}]),
    (
        "the first axis varies slowest",
        {"sweep": {"a": [1, 2], "b": ["x", "y"]}},
        [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}],
    ),
    (
        "a scalar is an axis of one value",
        {"sweep": {"a": [1, 2], "b": 3}},
        [{"a": 1, "b": 3}, {"a": 2, "b": 3}],
    ),
    (
        "nested axes",
        {"sweep": {"client": {"rate": [1, 2], "net": {"mtu": [9000]}}}},
        [{"client.rate": 1, "client.net.mtu": 9000}, {"client.rate": 2, "client.net.mtu": 9000}],
    ),
    ("a literal list", {"sweep": {"a": {"literal": [1, 2]}}}, [{"a": [1, 2]}]),
    (
        "literals among the choices",
        {"sweep": {"a": [{"literal": [1, 2]}, {"literal": {"x": 1}}, 3]}},
        [{"a": [1, 2]}, {"a": {"x": 1}}, {"a": 3}],
    ),
    ("a table among the choices", {"sweep": {"a": [{"x": 1}]}}, [{"a": {"x": 1}}]),
    ("a literal constant", {"parameters": {"a": {"literal": {"x": 1}}}}, [{"a": {"x": 1}}]),
    ("explicit points alone", {"points": [{"a": 1}, {"a": [2, 3]}]}, [{"a": 1}, {"a": [2, 3]}]),
    (
        "explicit points after the sweep's",
        {"sweep": {"a": [1, 2]}, "points": [{"a": 9}, {"a": 1}]},
        [{"a": 1}, {"a": 2}, {"a": 9}],
    ),
    (
        "a sweep overrides a constant",
        {"parameters": {"a": 0, "b": 5}, "sweep": {"a": [1, 2]}},
        [{"a": 1, "b": 5}, {"a": 2, "b": 5}],
    ),
    ("equal choices are one point", {"sweep": {"a": [1, 1, 2]}}, [{"a": 1}, {"a": 2}]),
    (
        "values of other types are other points",
        {"sweep": {"a": [1, 1.0, True, "1", None, "null"]}},
        [{"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"a": None}, {"a": "null"}],
    ),
    (
        "an exclusion by some parameters",
        {"sweep": {"a": [1, 2], "b": [1, 2]}, "exclude": [{"a": 1, "b": 2}, {"a": 2, "b": 1}]},
        [{"a": 1, "b": 1}, {"a": 2, "b": 2}],
    ),
    (
        "an exclusion by one of several values",
        {"sweep": {"a": [1, 2, 3], "b": [1]}, "exclude": [{"a": [1, 3]}]},
        [{"a": 2, "b": 1}],
    ),
    (
        "an exclusion by a nested parameter",
        {"sweep": {"client": {"rate": [1, 2]}}, "exclude": [{"client": {"rate": 1}}]},
        [{"client.rate": 2}],
    ),
    (
        "an exclusion of a literal list",
        {"sweep": {"a": [{"literal": [1]}, 1]}, "exclude": [{"a": {"literal": [1]}}]},
        [{"a": 1}],
    ),
    (
        "an exclusion of true leaves 1",
        {"sweep": {"a": [True, 1]}, "exclude": [{"a": True}]},
        [{"a": 1}],
    ),
    (
        "an exclusion of 4 means 4.0 too",
        {"sweep": {"a": [4.0, 5]}, "exclude": [{"a": 4}]},
        [{"a": 5}],
    ),
    ("everything excluded", {"sweep": {"a": [1]}, "exclude": [{"a": 1}]}, []),
    ("an empty axis", {"sweep": {"a": [], "b": [1, 2]}}, []),
]


@pytest.mark.parametrize(
    ("keys", "expected"), [case[1:] for case in POINTS], ids=[c[0] for c in POINTS]
)
def test_the_points_of_a_sweep(keys: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    spec = experiment(**keys)
    found = points(spec)
    assert [repr(point) for point in map(sorted_items, found)] == [
        repr(point) for point in map(sorted_items, expected)
    ]
    assert len(found) <= point_count(spec)


def sorted_items(point: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(point.items())


def test_an_exclusion_applies_to_constants_and_explicit_points_too() -> None:
    spec = experiment(parameters={"k": 1}, points=[{"a": 1}, {"a": 2}], exclude=[{"k": 1, "a": 2}])
    assert points(spec) == [{"k": 1, "a": 1}]


def test_the_number_of_points_is_known_without_making_them() -> None:
    axes = {f"a{index}": list(range(10)) for index in range(30)}
    assert point_count(experiment(sweep=axes)) == 10**30


# --- order ---------------------------------------------------------------------------------------


def test_listed_trials_repeat_each_point_before_the_next() -> None:
    spec = experiment(sweep={"a": [1, 2]}, repeats=2, order="listed")
    assert [trial.id for trial in trials(spec)] == [
        "e/a=1/rep-1",
        "e/a=1/rep-2",
        "e/a=2/rep-1",
        "e/a=2/rep-2",
    ]


def test_random_trials_have_every_point_once_before_any_is_repeated() -> None:
    spec = experiment(sweep={"a": list(range(20))}, repeats=3)
    found = trials(spec)
    rounds = [found[start : start + 20] for start in (0, 20, 40)]
    for number, in_round in enumerate(rounds, 1):
        assert {trial.repeat for trial in in_round} == {number}
        assert {trial.parameters["a"] for trial in in_round} == set(range(20))
    orders = [[trial.parameters["a"] for trial in in_round] for in_round in rounds]
    assert len({tuple(order) for order in orders}) == 3


def test_the_order_depends_on_the_seed_alone() -> None:
    sweep = {"a": list(range(20))}
    one, again, other = (
        [trial.id for trial in trials(experiment(sweep=sweep, repeats=2, seed=seed))]
        for seed in (1, 1, 2)
    )
    assert one == again
    assert one != other
    assert sorted(one) == sorted(other)


def test_a_trial_keeps_its_seed_when_others_come_and_go() -> None:
    few = {t.id: t.seed for t in trials(experiment(sweep={"a": [1, 2]}, repeats=2))}
    many = {
        t.id: t.seed for t in trials(experiment(sweep={"a": [0, 2, 1]}, repeats=3, order="listed"))
    }
    assert few.items() <= many.items()
    assert len(set(many.values())) == len(many)


def test_seeds_fit_into_31_bits_and_stay_what_they_are() -> None:
    assert trial_seed(0, "a=1", 1) == 1116545643
    assert all(
        0 <= trial_seed(seed, "p", repeat) < 2**31 for seed in range(50) for repeat in range(9)
    )


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({}, "point"),
        ({"workers": 2, "payload": 64}, "workers=2,payload=64"),
        ({"client.rate": 0.5}, "client.rate=0.5"),
        ({"on": True, "x": None}, "on=true,x=null"),
        ({"algorithm": "quick-sort"}, "algorithm=quick-sort"),
        ({"x": 1e22}, "x=1e+22"),
    ],
)
def test_a_plain_point_is_named_by_its_values(parameters: dict[str, Any], name: str) -> None:
    assert point_name(parameters) == name


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
    | st.sampled_from(["1", "1.0", "true", "null", "", "a,b=1", "x,a=2", "../..", "[1]", "A", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=5,
)
PARAMETERS = st.dictionaries(st.sampled_from(["a", "b", "c.d", "long" * 20]), VALUES, max_size=4)


@settings(deadline=None, max_examples=60)
@given(PARAMETERS)
def test_a_point_name_is_a_file_name(parameters: dict[str, Any]) -> None:
    name = point_name(parameters)
    assert re.fullmatch(r"[A-Za-z0-9_,=+-][A-Za-z0-9_.,=+-]{0,150}", name)


@settings(deadline=None, max_examples=60)
@given(st.lists(PARAMETERS, min_size=2, max_size=20))
def test_distinct_points_have_distinct_names(every: list[dict[str, Any]]) -> None:
    names: dict[str, str] = {}
    for parameters in every:
        exact = json.dumps(parameters, sort_keys=True)
        assert names.setdefault(point_name(parameters), exact) == exact


AXES = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]),
    st.lists(
        st.integers(0, 5) | st.booleans() | st.sampled_from(["x", "y"]), min_size=1, max_size=4
    ),
    max_size=4,
)


@settings(deadline=None, max_examples=60)
@given(AXES, st.integers(1, 3), st.integers(0, 9), st.sampled_from(["random", "listed"]))
def test_every_point_is_tried_as_often_as_asked(
    sweep: dict[str, Any], repeats: int, seed: int, order: str
) -> None:
    spec = experiment(sweep=sweep, repeats=repeats, seed=seed, order=order)
    found = trials(spec)
    assert Counter(trial.point for trial in found) == {
        point_name(point): repeats for point in points(spec)
    }
    assert len({trial.id for trial in found}) == len(found)
    assert len(points(spec)) == _distinct_combinations(sweep)


def _distinct_combinations(sweep: dict[str, list[Any]]) -> int:
    product = 1
    for values in sweep.values():
        product *= len({repr(value) for value in values})
    return product
