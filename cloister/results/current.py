"""Which of the kept records are results of the present configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from cloister.config.spec import ExperimentSpec
from cloister.experiment.placement import definition
from cloister.experiment.record import TrialRecord
from cloister.experiment.trial import trials
from cloister.results.statistics import counted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """`definitions`: trial id → the definition that counts.  `warnings`: what a reader should know."""

    definitions: Mapping[str, str]
    warnings: tuple[str, ...]


def reading(spec: ExperimentSpec, records: Sequence[TrialRecord]) -> Reading:
    """A record counts if it was measured as the configuration says now, with whatever code.

    Code is compared among the records, since the code of today is not known to have been deployed.
    """
    definitions: dict[str, str] = {}
    changed = missing = 0
    of_trial: dict[str, list[TrialRecord]] = {}
    for record in records:
        if record.experiment == spec.name and record.verdict == "complete":
            of_trial.setdefault(record.trial, []).append(record)
    for trial in trials(spec):
        attempts = sorted(of_trial.get(trial.id, []), key=lambda record: -record.attempt)
        for record in attempts:
            if definition(spec, trial, _keys(record)) == record.definition:
                definitions[trial.id] = record.definition
                break
        else:
            changed += bool(attempts)
            missing += not attempts
    warnings = []
    if changed:
        warnings.append(
            f"{changed} trials were measured with another configuration and are left out"
        )
    if missing:
        warnings.append(
            f"{missing} of {len(definitions) + changed + missing} trials have no result"
        )
    versions = {
        tuple(sorted(_keys(r).items()))
        for r in counted(records, definitions)
        if r.trial in definitions
    }
    if len(versions) > 1:
        warnings.append(f"the results come from {len(versions)} versions of the deployed code")
    return Reading(definitions=definitions, warnings=tuple(warnings))


def _keys(record: TrialRecord) -> Mapping[str, str]:
    keys = record.provenance.get("keys")
    return keys if isinstance(keys, dict) else {}
