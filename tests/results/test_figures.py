from __future__ import annotations

from typing import Any

import pytest
from evidence import record, trial

from cloister.config.spec import ExperimentSpec, FigureSpec
from cloister.experiment.trial import points
from cloister.results.figures import (
    DEFAULT_FIGURES_MAX,
    Drawing,
    Undrawable,
    default_figures,
    drawing,
)
from cloister.results.statistics import Table, summary


def _table(sweep: dict[str, Any], repeats: int = 2, scale: float = 1.0) -> Table:
    """The rate of the point at index i is (i + 1) times the scale, in each trial."""
    spec = ExperimentSpec.model_validate(
        {
            "name": "ping",
            "sweep": sweep,
            "repeats": max(1, repeats),
            "processes": {"main": {"role": "w", "command": "true"}},
            "metrics": {
                "rate": {"process": "main", "pattern": "(x)", "unit": "op/s"},
                "late": {"process": "main", "pattern": "(x)"},
            },
        }
    )
    records = [
        record(trial(point, n), metrics={"rate": (i + 1) * scale, "late": 5.0 + i})
        for i, point in enumerate(points(spec))
        for n in range(1, repeats + 1)
    ]
    return summary(records, spec)


def _drawn(table: Table, **spec: Any) -> Drawing:
    found = drawing(FigureSpec(name="f", experiment="ping", **{"y": "rate", **spec}), table)
    assert isinstance(found, Drawing), found
    return found


def _refused(table: Table, **spec: Any) -> str:
    found = drawing(FigureSpec(name="f", experiment="ping", **{"y": "rate", **spec}), table)
    assert isinstance(found, Undrawable)
    return str(found)


def test_a_line_has_a_mark_for_each_value_and_a_series_for_each_other_key() -> None:
    found = _drawn(_table({"n": [1, 2], "mode": ["a", "b"]}), kind="line", x="n", by=["mode"])
    assert found.legend == "mode"
    assert [(s.label, [(m.x, m.y) for m in s.marks]) for s in found.series] == [
        ("a", [(1.0, 1.0), (2.0, 3.0)]),
        ("b", [(1.0, 2.0), (2.0, 4.0)]),
    ]
    assert (found.y.title, found.y.unit, found.caption[-7:]) == ("rate", "op/s", " n = 2.")


def test_points_at_one_x_are_never_mixed_but_made_series() -> None:
    found = _drawn(_table({"n": [1, 2], "mode": ["a", "b"], "k": [5, 6]}), kind="line", x="n")
    assert [s.label for s in found.series] == [
        "mode=a, k=5",
        "mode=a, k=6",
        "mode=b, k=5",
        "mode=b, k=6",
    ]


def test_where_chooses_points() -> None:
    table = _table({"n": [1, 2], "mode": ["a", "b"]})
    found = _drawn(table, kind="line", x="n", where={"mode": "b"})
    assert [[m.y for m in s.marks] for s in found.series] == [[2.0, 4.0]]


@pytest.mark.parametrize(
    ("values", "log"),
    [
        ([1, 2, 4, 8, 16], 2),
        ([1, 10, 100], 10),
        ([1, 2, 3, 4], 0),
        ([0, 1, 10, 100], 0),
        ([1, 64], 0),
    ],
)
def test_values_chosen_in_steps_of_a_factor_make_a_logarithmic_axis(
    values: list[int], log: int
) -> None:
    assert _drawn(_table({"n": values}), kind="line", x="n").x.log == log


def test_names_and_booleans_on_x_are_categories_in_the_order_of_the_sweep() -> None:
    found = _drawn(_table({"mode": ["z", "a", True]}), kind="line", x="mode")
    assert found.x.categories == ("z", "a", "true")
    assert [m.x for m in found.series[0].marks] == [0.0, 1.0, 2.0]


def test_bars_of_numbers_stand_in_the_order_of_the_numbers() -> None:
    found = _drawn(_table({"n": [8, 1]}), kind="bars", x="n")
    assert found.x.categories == ("1", "8")
    assert sorted((m.x, m.y) for m in found.series[0].marks) == [(0.0, 2.0), (1.0, 1.0)]


def test_a_cdf_is_of_the_trials_own_values() -> None:
    found = _drawn(_table({"n": [1, 2]}), kind="cdf")
    assert [(m.x, m.y) for m in found.series[0].marks] == [
        (1.0, 0.25),
        (1.0, 0.5),
        (2.0, 0.75),
        (2.0, 1.0),
    ]
    assert "all values of n together" in found.caption


def test_throughput_and_latency_are_joined_in_the_order_of_the_sweep() -> None:
    table = _table({"mode": ["a", "b"], "n": [4, 1, 2]})
    found = _drawn(table, kind="throughput-latency", x="rate", y="late", by=["mode"])
    assert [(m.label, m.x, m.y) for m in found.series[0].marks] == [
        ("4", 1.0, 5.0),
        ("1", 2.0, 6.0),
        ("2", 3.0, 7.0),
    ]
    assert "Labels: n." in found.caption


def test_one_trial_each_has_no_interval_and_the_caption_says_so() -> None:
    found = _drawn(_table({"n": [1, 2]}, repeats=1), kind="line", x="n")
    assert all(mark.y_interval is None for mark in found.series[0].marks)
    assert "without an interval" in found.caption


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"kind": "line", "x": "m"}, "figure f: experiment ping has no parameter m"),
        ({"kind": "line", "x": "n", "y": "speed"}, "has no metric speed"),
        ({"kind": "line", "x": "n", "where": {"n": 7}}, "no point of ping has n=7"),
        ({"kind": "line", "x": "n", "log_x": True}, "a logarithmic axis cannot show 0"),
        ({"kind": "throughput-latency", "x": "n"}, "has no metric n"),
    ],
)
def test_what_cannot_be_drawn_says_why(spec: dict[str, Any], why: str) -> None:
    assert why in _refused(_table({"n": [0, 1]}), **spec)


def test_no_data_is_a_problem_and_not_an_empty_picture() -> None:
    why = _refused(_table({"n": [1, 2]}, repeats=0), kind="line", x="n", where={"n": 1})
    assert why == "figure f: no complete trial of ping with n=1 has a value of rate"


def test_too_many_series_are_refused() -> None:
    assert "20 series cannot be told apart" in _refused(
        _table({"n": [1, 2], "k": list(range(20))}), kind="line", x="n"
    )


def test_default_figures_follow_the_sweep() -> None:
    table = _table({"mode": ["a", "b"], "n": [1, 2], "k": [5, 6]})
    found = default_figures(table)
    assert [(f.name, f.kind, f.x, f.by, f.where, f.y) for f in found] == [
        ("ping-rate-k-5", "line", "n", ["mode"], {"k": 5}, "rate"),
        ("ping-late-k-5", "line", "n", ["mode"], {"k": 5}, "late"),
        ("ping-rate-k-6", "line", "n", ["mode"], {"k": 6}, "rate"),
        ("ping-late-k-6", "line", "n", ["mode"], {"k": 6}, "late"),
    ]
    assert all(isinstance(drawing(spec, table), Drawing) for spec in found)


def test_without_numbers_there_are_bars_and_without_a_sweep_distributions() -> None:
    assert {f.kind for f in default_figures(_table({"mode": ["a", "b"]}))} == {"bars"}
    assert {f.kind for f in default_figures(_table({}))} == {"cdf"}


def test_default_figures_are_limited_and_have_names_of_their_own() -> None:
    found = default_figures(
        _table({"n": [1, 2], "k": [1, 2], "z": [f"{'v' * 70}{i}" for i in range(40)]})
    )
    assert len(found) == len({f.name for f in found}) == DEFAULT_FIGURES_MAX
