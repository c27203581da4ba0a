from __future__ import annotations

from evidence import record, trial

from cloister.config.spec import ExperimentSpec
from cloister.experiment.runner import Job
from cloister.results.forecast import forecast_s

SPEC = ExperimentSpec.model_validate(
    {"name": "ping", "timeout": 60, "processes": {"p": {"role": "workers", "command": "true"}}}
)
JOBS = [Job(spec=SPEC, trial=trial(repeat=repeat)) for repeat in (3, 4)]


def test_trials_take_as_long_as_those_that_were_complete() -> None:
    before = [
        record(trial(repeat=1), duration_s=2.0),
        record(trial(repeat=2), duration_s=4.0),
        record(trial(repeat=2), attempt=2, duration_s=50.0, verdict="failed"),
    ]
    assert forecast_s(JOBS, before) == 6.0


def test_without_any_they_take_as_long_as_they_may() -> None:
    assert forecast_s(JOBS, []) == 120.0
    assert forecast_s(JOBS, [record(trial(), experiment="other")]) == 120.0


def test_nothing_to_run_takes_no_time() -> None:
    assert forecast_s([], []) == 0.0
