"""How long the trials that have to run will take: as long as those before them, or as their limit says; pure."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from cloister.experiment.record import TrialRecord
from cloister.experiment.runner import Job


def forecast_s(jobs: Iterable[Job], records: Iterable[TrialRecord]) -> float:
    """Seconds. Of an experiment without any complete trial nothing is known but the limit of each."""
    known: dict[str, list[float]] = {}
    for record in records:
        if record.verdict == "complete":
            known.setdefault(record.experiment, []).append(record.duration_s)
    return sum(
        fmean(known[job.spec.name]) if job.spec.name in known else job.spec.timeout for job in jobs
    )
