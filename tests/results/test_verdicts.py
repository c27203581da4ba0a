from __future__ import annotations

from pathlib import Path

from evidence import record

from cloister.config.spec import ExperimentSpec
from cloister.experiment.trial import trials
from cloister.results.store import Damage
from cloister.results.verdicts import verdicts

SPEC = ExperimentSpec.model_validate(
    {
        "name": "ping",
        "sweep": {"n": [1, 2, 3]},
        "repeats": 2,
        "processes": {"main": {"role": "w", "command": "true"}},
    }
)


def test_each_trial_of_the_configuration_has_one_verdict_in_its_order() -> None:
    every = trials(SPEC.model_copy(update={"order": "listed"}))
    complete, failed, changed, damaged, again, _ = every
    records = [
        record(complete),
        record(failed, verdict="failed"),
        record(changed, definition="old"),
        record(again, 1),
        record(again, 2, verdict="invalid"),
    ]
    broken = Damage(path=Path("record.json"), trial=damaged.id, why="truncated")
    found = verdicts(SPEC, records, [broken], {trial.id: "d1" for trial in every})
    assert [(verdict.trial.id, verdict.kind) for verdict in found] == [
        (complete.id, "complete"),
        (failed.id, "failed"),
        (changed.id, "changed"),
        (damaged.id, "damaged"),
        (again.id, "complete"),
        (every[5].id, "missing"),
    ]
    assert [verdict.record and verdict.record.attempt for verdict in found] == [
        1,
        1,
        1,
        None,
        1,
        None,
    ]
