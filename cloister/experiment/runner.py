"""Running trials one after the other: yields their records, stores nothing."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloister.config.spec import ExperimentSpec
from cloister.errors import CloisterError
from cloister.experiment.execution import Attempt, Execution
from cloister.experiment.placement import definition
from cloister.experiment.record import Artifact, TrialRecord
from cloister.experiment.running import TrialFailed
from cloister.experiment.trial import Trial
from cloister.plan.observed import Node
from cloister.transport.links import Links

LAST_LINES = 20
_LAST_BYTES = 1 << 14

# (folder, artifacts) → (values, names of missing ones with the reason)
ReadMetrics = Callable[
    [ExperimentSpec, Path, Sequence[Artifact]], tuple[Mapping[str, float], Mapping[str, str]]
]
# trial → (attempt number, the empty folder for its artifacts)
NewAttempt = Callable[[Trial], tuple[int, Path]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A trial that has to run, with the experiment it belongs to."""

    spec: ExperimentSpec
    trial: Trial


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What all trials of a run share.

    `sources` maps targets on the nodes to the content keys of what was deployed there;
    `provenance` goes into every record as it is; `facts` describes each node by name.
    """

    cluster: str
    nodes: Sequence[Node]
    links: Links
    sources: Mapping[str, str]
    provenance: Mapping[str, Any]
    facts: Mapping[str, Mapping[str, Any]]


def run(
    jobs: Iterable[Job],
    around: Surroundings,
    *,
    new_attempt: NewAttempt,
    read_metrics: ReadMetrics,
    on_start: Callable[[Job], None] = lambda job: None,
) -> Iterator[TrialRecord]:
    """Run the jobs in the order given; a record for each, whatever became of it.

    Closing this iterator between trials leaves nothing running; within one, closing the links does.
    """
    for job in jobs:
        on_start(job)
        number, folder = new_attempt(job.trial)
        yield run_trial(job, number, folder, around, read_metrics)


def run_trial(
    job: Job, number: int, folder: Path, around: Surroundings, read_metrics: ReadMetrics
) -> TrialRecord:
    """One attempt at one trial, its artifacts in `folder`."""
    started_at = time.time()
    attempt = Attempt(job.spec, job.trial, around.nodes, around.links, around.cluster)
    execution = attempt.execute(folder)
    failure, metrics = execution.failure, dict[str, float]()
    if failure is None:
        failure, metrics = _measured(job.spec, folder, execution.artifacts, read_metrics)
    guilty = execution.labels[failure.guilty] if failure and failure.guilty is not None else ""
    return TrialRecord(
        trial=job.trial.id,
        experiment=job.trial.experiment,
        point=job.trial.point,
        repeat=job.trial.repeat,
        attempt=number,
        seed=job.trial.seed,
        parameters=dict(job.trial.parameters),
        definition=definition(job.spec, job.trial, around.sources),
        verdict=failure.verdict if failure else "complete",
        reason=failure.reason if failure else "",
        guilty=guilty,
        last_lines=last_lines(folder, execution, guilty) if failure else (),
        started_at=started_at,
        duration_s=execution.duration_s,
        measured_s=execution.measured_s,
        processes=execution.processes,
        artifacts=execution.artifacts,
        metrics=metrics,
        nodes=tuple(_node_entry(node, around.facts) for node in execution.nodes),
        provenance=dict(around.provenance),
    )


def _measured(
    spec: ExperimentSpec, folder: Path, artifacts: Sequence[Artifact], read_metrics: ReadMetrics
) -> tuple[TrialFailed | None, dict[str, float]]:
    try:
        values, missing = read_metrics(spec, folder, artifacts)
    except (CloisterError, OSError) as error:
        return TrialFailed("failed", f"reading the metrics failed: {error}"), {}
    if missing:
        reasons = "; ".join(f"{name}: {why}" for name, why in missing.items())
        return TrialFailed("failed", f"no value for {reasons}"), dict(values)
    return None, dict(values)


def last_lines(folder: Path, execution: Execution, guilty: str) -> tuple[str, ...]:
    """The end of the guilty process's log: of standard error, or of standard output if that is empty."""
    owned = [a.path for a in execution.artifacts if guilty and a.path.startswith(f"{guilty}/")]
    for name in ("stderr.log", "stdout.log"):
        path = f"{guilty}/{name}"
        if path in owned and (lines := _tail(folder / path)):
            return lines
    return ()


def _tail(path: Path) -> tuple[str, ...]:
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - _LAST_BYTES))
        text = log.read().decode("utf-8", "replace")
    return tuple(text.splitlines()[-LAST_LINES:])


def _node_entry(node: Node, facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "name": node.name,
        "roles": list(node.roles),
        "address": node.private_address,
        "region": node.region,
        "labels": dict(node.labels),
        "facts": dict(facts.get(node.name, {})),
    }
