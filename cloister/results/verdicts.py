"""How each trial that the configuration asks for stands, from what was read; pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from cloister.config.spec import ExperimentSpec
from cloister.experiment.record import TrialRecord
from cloister.experiment.trial import Trial, trials
from cloister.results.statistics import counted
from cloister.results.store import Damage

Kind = Literal["complete", "failed", "invalid", "damaged", "changed", "missing"]
KINDS: tuple[Kind, ...] = ("complete", "failed", "invalid", "damaged", "changed", "missing")
MEANINGS: Mapping[Kind, str] = {
    "complete": "counted as results",
    "failed": "the program was at fault",
    "invalid": "the machine was at fault",
    "damaged": "the evidence is not as it was saved",
    "changed": "measured with another configuration",
    "missing": "not run yet",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """`record` is the attempt that counts, or else the latest one that can be read."""

    trial: Trial
    kind: Kind
    record: TrialRecord | None


def verdicts(
    spec: ExperimentSpec,
    records: Sequence[TrialRecord],
    damages: Iterable[Damage],
    definitions: Mapping[str, str],
) -> tuple[Verdict, ...]:
    """One per trial, in the order of the configuration; `records` are the undamaged ones."""
    results = {record.trial: record for record in counted(records, definitions)}
    latest: dict[str, TrialRecord] = {}
    for record in sorted(records, key=lambda record: record.attempt):
        latest[record.trial] = record
    damaged = {damage.trial for damage in damages}
    listed = trials(spec.model_copy(update={"order": "listed"}))
    return tuple(
        Verdict(
            trial=trial,
            kind=_kind(trial.id in results, trial.id in damaged, latest.get(trial.id)),
            record=results.get(trial.id) or latest.get(trial.id),
        )
        for trial in listed
    )


def _kind(counts: bool, damaged: bool, latest: TrialRecord | None) -> Kind:
    if counts:
        return "complete"
    if damaged:
        return "damaged"
    if latest is None:
        return "missing"
    return "changed" if latest.verdict == "complete" else latest.verdict
