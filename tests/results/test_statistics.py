from __future__ import annotations

import math
import random

import pytest
from evidence import record, trial

from cloister.config.spec import ExperimentSpec
from cloister.experiment.record import TrialRecord
from cloister.results.statistics import Estimate, counted, estimate, summary

SPEC = ExperimentSpec.model_validate(
    {
        "name": "ping",
        "parameters": {"mode": "fast"},
        "sweep": {"n": [1, 2]},
        "repeats": 3,
        "processes": {"main": {"role": "w", "command": "true"}},
        "metrics": {"rate": {"process": "main", "pattern": "(x)", "unit": "op/s"}},
    }
)


def _records(n: int, rates: list[float]) -> list[TrialRecord]:
    return [
        record(trial({"mode": "fast", "n": n}, repeat), metrics={"rate": rate})
        for repeat, rate in enumerate(rates, 1)
    ]


def _estimate(*values: float) -> Estimate:
    found = estimate(values, confidence=0.95, seed=1)
    assert found is not None
    return found


def test_known_numbers() -> None:
    found = _estimate(2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0)
    assert (found.n, found.mean, found.median, found.min, found.max) == (8, 5.0, 4.5, 2.0, 9.0)
    assert found.std == pytest.approx(math.sqrt(32 / 7))
    assert found.low is not None and found.high is not None
    assert 2.0 < found.low < 5.0 < found.high < 9.0


def test_the_interval_is_near_the_one_of_the_normal_distribution_when_n_is_large() -> None:
    generator = random.Random(5)
    values = [generator.gauss(100, 10) for _ in range(400)]
    found = _estimate(*values)
    assert found.low == pytest.approx(found.mean - 1.96 * found.std / 20, abs=0.12)
    assert found.high == pytest.approx(found.mean + 1.96 * found.std / 20, abs=0.12)


def test_the_bootstrap_of_two_values_is_their_exact_distribution() -> None:
    # Means of two draws from {0, 1}: 0, ½, 1 with ¼, ½, ¼; so 95 % reaches from 0 to 1, 40 % is ½.
    assert (_estimate(0.0, 1.0).low, _estimate(0.0, 1.0).high) == (0.0, 1.0)
    narrow = estimate((0.0, 1.0), confidence=0.4, seed=1)
    assert narrow is not None and (narrow.low, narrow.high) == (0.5, 0.5)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = random.Random(3)
    hits = 0
    for seed in range(200):
        values = [generator.gauss(0, 1) for _ in range(30)]
        found = estimate(values, confidence=0.9, seed=seed)
        hits += found.low <= 0 <= found.high
    assert 0.82 <= hits / 200 <= 0.95


def test_one_value_has_no_interval_and_none_has_no_estimate() -> None:
    found = _estimate(3.0)
    assert (found.mean, found.std, found.low, found.high) == (3.0, None, None, None)
    assert estimate((), confidence=0.95, seed=1) is None


def test_the_largest_and_smallest_floats_do_not_overflow() -> None:
    assert _estimate(1.5e308, 1.7e308).mean == pytest.approx(1.6e308)
    assert _estimate(5e-324, 5e-324).mean == 5e-324
    assert _estimate(0.0, 0.0).std == 0.0


@pytest.mark.parametrize("value", [0.1, 123.456, 1 / 3])
def test_equal_values_deviate_by_nothing(value: float) -> None:
    estimate = _estimate(*[value] * 7)
    assert (estimate.mean, estimate.median, estimate.std) == (value, value, 0.0)


def test_the_order_of_records_changes_nothing() -> None:
    records = _records(1, [1.0, 2.5, 3.0]) + _records(2, [7.0, 8.0, 10.0])
    expected = summary(records, SPEC)
    for seed in range(5):
        shuffled = random.Random(seed).sample(records, len(records))
        assert summary(shuffled, SPEC) == expected


def test_the_numbers_of_a_point_do_not_depend_on_other_points() -> None:
    both = summary(_records(1, [1.0, 2.5, 3.0]) + _records(2, [7.0, 8.0, 10.0]), SPEC)
    alone = summary(_records(2, [7.0, 8.0, 10.0]), SPEC)
    assert both.rows[1] == alone.rows[1]


def test_another_seed_resamples_anew_and_the_mean_stays() -> None:
    values = [math.sqrt(number) for number in range(20)]
    first, again, other = (estimate(values, confidence=0.95, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.mean == other.mean
    assert first.low != other.low


def test_every_point_of_the_configuration_has_a_row() -> None:
    table = summary(_records(2, [7.0]), SPEC)
    assert table.parameters == ("mode", "n")
    assert [(row.parameters, row.n) for row in table.rows] == [(("fast", 1), 0), (("fast", 2), 1)]
    assert table.rows[0].estimates == (None,)
    assert (table.varying(), table.constants()) == (("n",), {"mode": "fast"})
    assert table.metrics[0].unit == "op/s"


def test_only_complete_trials_of_the_configuration_count() -> None:
    point = {"mode": "fast", "n": 1}
    good = record(trial(point, 1), metrics={"rate": 1.0})
    others = [
        record(trial(point, 2), verdict="failed", metrics={"rate": 9.0}),
        record(trial(point, 3), verdict="invalid", metrics={"rate": 9.0}),
        record(trial(point, 4), metrics={"rate": 9.0}),
        record(trial({"mode": "slow", "n": 1}, 1), metrics={"rate": 9.0}),
        record(trial(point, 1), experiment="other", metrics={"rate": 9.0}),
    ]
    assert summary([good, *others[:4]], SPEC).rows[0].values == ((1.0,),)


def test_the_latest_complete_attempt_of_the_definition_counts() -> None:
    of = trial({"mode": "fast", "n": 1})
    attempts = [
        record(of, 1, metrics={"rate": 1.0}),
        record(of, 2, metrics={"rate": 2.0}),
        record(of, 3, metrics={"rate": 3.0}, definition="d2"),
        record(of, 4, verdict="failed"),
    ]
    assert [entry.attempt for entry in counted(attempts)] == [3]
    assert [entry.attempt for entry in counted(attempts, {of.id: "d1"})] == [2]
    assert counted(attempts, {}) == ()
