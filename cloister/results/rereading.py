"""The numbers of kept trials read anew, since the metrics may have come or changed after the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from cloister.config.spec import ExperimentSpec
from cloister.experiment.record import TrialRecord
from cloister.results.metrics import read_again
from cloister.results.statistics import counted
from cloister.results.store import Store


def reread(
    store: Store,
    spec: ExperimentSpec,
    records: Iterable[TrialRecord],
    definitions: Mapping[str, str] | None = None,
) -> tuple[tuple[TrialRecord, ...], tuple[str, ...]]:
    """The records, those that count with their metrics as the artifacts say now; what has no value.

    A metric is no part of a trial's definition: it says how to read what was measured.
    """
    every = tuple(records)
    fresh: dict[tuple[str, int], TrialRecord] = {}
    problems: list[str] = []
    for record in counted(every, definitions):
        if record.experiment != spec.name:
            continue
        values, missing = read_again(record, store.attempt_folder(record), spec.metrics)
        kept = {name: value for name, value in record.metrics.items() if name not in spec.metrics}
        fresh[record.trial, record.attempt] = dataclasses.replace(record, metrics=kept | values)
        problems += [f"{record.trial}: no value of {name}: {why}" for name, why in missing.items()]
    return tuple(fresh.get((r.trial, r.attempt), r) for r in every), tuple(problems)
