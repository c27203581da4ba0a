from __future__ import annotations

import pytest
from evidence import Saved, trial

from cloister.config.spec import ExperimentSpec
from cloister.results.rereading import reread
from cloister.results.store import Store


def _spec(pattern: str) -> ExperimentSpec:
    return ExperimentSpec.model_validate(
        {
            "name": "ping",
            "processes": {"main": {"role": "w", "command": "true"}},
            "metrics": {"rate": {"process": "main", "pattern": pattern}},
        }
    )


@pytest.mark.parametrize(("pattern", "value"), [(r"a=(\d+)", 1.0), (r"b=(\d+)", 2.0)])
def test_a_changed_metric_gives_new_numbers(
    store: Store, saved: Saved, pattern: str, value: float
) -> None:
    saved(trial(), {"main-0@n1/stdout.log": b"a=1 b=2\n"}, metrics={"rate": 9.0, "other": 4.0})
    (found,), problems = reread(store, _spec(pattern), store.records())
    assert found.metrics == {"rate": value, "other": 4.0}
    assert problems == ()


def test_a_number_that_is_not_there_any_more_is_said_and_not_kept(
    store: Store, saved: Saved
) -> None:
    saved(trial(), metrics={"rate": 9.0})
    failed = saved(trial(repeat=2), verdict="failed", metrics={"rate": 5.0})
    (found, untouched), (problem,) = reread(store, _spec(r"c=(\d+)"), store.records())
    assert found.metrics == {}
    assert untouched == failed
    assert problem.startswith("ping/n=2/rep-1: no value of rate: no line of main-0@n1/stdout.log")
