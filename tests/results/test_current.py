"""Which records count for the present configuration: on records alone, without nodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from evidence import record

from cloister.config.spec import ExperimentSpec
from cloister.experiment.placement import definition
from cloister.experiment.record import TrialRecord
from cloister.experiment.trial import Trial, trials
from cloister.results.current import reading


def experiment(command: str = "true", repeats: int = 2) -> ExperimentSpec:
    return ExperimentSpec.model_validate(
        {
            "name": "ping",
            "repeats": repeats,
            "processes": {"p": {"role": "workers", "command": command}},
        }
    )


def measured(
    spec: ExperimentSpec, trial: Trial, keys: Mapping[str, str] | None = None, **changes: Any
) -> TrialRecord:
    """A record as it would be after this trial with this code."""
    entry = record(trial, definition=definition(spec, trial, keys or {}), **changes)
    return dataclasses.replace(entry, provenance={"keys": dict(keys or {})})


def test_records_of_the_present_configuration_count() -> None:
    spec = experiment()
    records = [measured(spec, trial) for trial in trials(spec)]
    read = reading(spec, records)
    assert read.definitions == {entry.trial: entry.definition for entry in records}
    assert read.warnings == ()


def test_those_of_another_command_are_left_out_and_it_is_said() -> None:
    records = [measured(experiment("false"), trial) for trial in trials(experiment())]
    read = reading(experiment(), records)
    assert read.definitions == {}
    assert read.warnings[0] == (
        "2 trials were measured with another configuration and are left out"
    )


def test_missing_ones_are_said() -> None:
    spec = experiment(repeats=3)
    read = reading(spec, [measured(spec, trials(spec)[0])])
    assert len(read.definitions) == 1
    assert read.warnings == ("2 of 3 trials have no result",)


def test_failed_and_invalid_ones_are_missing() -> None:
    spec = experiment()
    first, second = trials(spec)
    read = reading(
        spec, [measured(spec, first, verdict="failed"), measured(spec, second, verdict="invalid")]
    )
    assert read.definitions == {}
    assert read.warnings == ("2 of 2 trials have no result",)


def test_an_earlier_attempt_counts_if_the_latest_was_of_another_configuration() -> None:
    spec = experiment(repeats=1)
    [trial] = trials(spec)
    records = [measured(experiment("false"), trial, attempt=2), measured(spec, trial, attempt=1)]
    assert reading(spec, records).definitions == {trial.id: records[1].definition}


def test_results_of_several_versions_of_the_code_are_told_apart() -> None:
    spec = experiment()
    first, second = trials(spec)
    old, new = {"app": "1"}, {"app": "2"}
    read = reading(spec, [measured(spec, first, old), measured(spec, second, new)])
    assert set(read.definitions) == {first.id, second.id}
    assert read.warnings == ("the results come from 2 versions of the deployed code",)
    alike = reading(spec, [measured(spec, first, new), measured(spec, second, new)])
    assert alike.warnings == ()


def test_records_of_other_experiments_and_trials_do_not_matter() -> None:
    spec = experiment(repeats=1)
    [trial] = trials(spec)
    stranger = dataclasses.replace(measured(spec, trial), experiment="other")
    gone = measured(spec, dataclasses.replace(trial, repeat=9))
    read = reading(spec, [measured(spec, trial), stranger, gone])
    assert set(read.definitions) == {trial.id}
    assert read.warnings == ()


def test_a_record_without_keys_can_be_read() -> None:
    spec = experiment(repeats=1)
    [trial] = trials(spec)
    bare = dataclasses.replace(measured(spec, trial), provenance={"keys": "damaged"})
    assert reading(spec, [bare]).definitions == {trial.id: bare.definition}
