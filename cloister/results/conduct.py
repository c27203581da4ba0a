"""Carrying out the experiments of a configuration: what is missing is run, every record is kept."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloister import __version__
from cloister.cluster import Cluster
from cloister.config.spec import ExperimentSpec, SyncSpec
from cloister.deploy.bringing_up import await_nodes
from cloister.deploy.deploying import Deployed, deploy, facts_of
from cloister.experiment.placement import definition
from cloister.experiment.record import Artifact, TrialRecord
from cloister.experiment.runner import Job, Surroundings, run
from cloister.experiment.trial import trials
from cloister.results.forecast import forecast_s
from cloister.results.metrics import metrics_of
from cloister.results.store import Standing, Store
from cloister.transport.links import Links

# Below each node's work folder: held by the agent of whoever runs trials there, from any machine.
NODE_LOCK = ".cloister/run.lock"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standings:
    """What has to run, in order, and why; what is complete already."""

    jobs: tuple[Job, ...]
    reasons: Mapping[str, Standing]
    complete: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conducted:
    """Counts of one run; `skipped` trials were complete and verified before it."""

    skipped: int
    complete: int
    failed: int
    invalid: int
    duration_s: float

    @property
    def all_complete(self) -> bool:
        return not self.failed and not self.invalid


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watcher:
    """What a display wants to know; every function may be left out."""

    say: Callable[[str], None] = lambda text: None
    on_standings: Callable[[Standings], None] = lambda standings: None
    on_start: Callable[[Job], None] = lambda job: None
    on_record: Callable[[TrialRecord], None] = lambda record: None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """Nodes that are held for this run, with the code deployed on them."""

    cluster: Cluster
    links: Links
    store: Store
    deployed: Deployed
    around: Surroundings
    configuration: Mapping[str, bytes]
    watcher: Watcher

    def carry_out(self, experiment: str, jobs: Iterable[Job]) -> Iterator[TrialRecord]:
        """Run these jobs of the experiment, saving each record as it comes."""
        kept = provenance(experiment, self.store, self.deployed, self.cluster, self.configuration)
        for record in run(
            jobs,
            dataclasses.replace(self.around, provenance=kept),
            new_attempt=self.store.new_attempt,
            read_metrics=read_metrics,
            on_start=self.watcher.on_start,
        ):
            self.store.save(record)
            self.watcher.on_record(record)
            yield record


@contextlib.contextmanager
def staged(
    deploys: Sequence[SyncSpec],
    cluster: Cluster,
    store: Store,
    *,
    configuration: Mapping[str, bytes],
    watcher: Watcher | None = None,
    command: str = "cloister run",
) -> Iterator[Stage]:
    """Hold the results folder and the nodes, and deploy; whatever was started ends with the context.

    command: what others are told who want the same nodes.
    """
    watcher = watcher or Watcher()
    with store.lock(), Links(marks=cluster.marks, ssh_config=cluster.ssh_config) as links:
        await_nodes(links, cluster.nodes)
        hold_nodes(links, cluster, command)
        facts = facts_of(links, cluster.nodes)
        deployed = deploy(
            links, cluster.nodes, deploys, facts, cluster.folder / "builds", say=watcher.say
        )
        around = Surroundings(
            cluster=cluster.name,
            nodes=cluster.nodes,
            links=links,
            sources=deployed.keys,
            provenance={},
            facts=facts,
        )
        yield Stage(
            cluster=cluster,
            links=links,
            store=store,
            deployed=deployed,
            around=around,
            configuration=configuration,
            watcher=watcher,
        )


def conduct(
    experiments: Sequence[ExperimentSpec],
    deploys: Sequence[SyncSpec],
    cluster: Cluster,
    store: Store,
    *,
    configuration: Mapping[str, bytes],
    accept_changed: bool = False,
    expect_time: Callable[[float], None] = lambda seconds: None,
    watcher: Watcher | None = None,
) -> Conducted:
    """Deploy, skip what is complete and verified, run the rest, save each record as it comes.

    configuration: name → content of the files that asked for this, kept with the results.
    accept_changed: complete trials of another definition count as done.
    expect_time: told how many seconds the trials will probably take, before the first one; may raise.
    Killed at any moment, the next call completes: a trial without a record runs again.
    """
    began = time.monotonic()
    verdicts: Counter[str] = Counter()
    with staged(deploys, cluster, store, configuration=configuration, watcher=watcher) as stage:
        standings = standings_of(
            experiments, stage.deployed.keys, store, accept_changed=accept_changed
        )
        stage.watcher.on_standings(standings)
        if standings.jobs:
            expect_time(forecast_s(standings.jobs, store.records()))
        for spec in experiments:
            jobs = [job for job in standings.jobs if job.spec.name == spec.name]
            if jobs:
                verdicts.update(r.verdict for r in stage.carry_out(spec.name, jobs))
    return conducted(verdicts, began, skipped=standings.complete)


def conducted(verdicts: Counter[str], began: float, *, skipped: int = 0) -> Conducted:
    """`began` is the monotonic clock's time at the beginning."""
    return Conducted(
        skipped=skipped,
        complete=verdicts["complete"],
        failed=verdicts["failed"],
        invalid=verdicts["invalid"],
        duration_s=time.monotonic() - began,
    )


def read_metrics(
    spec: ExperimentSpec, folder: Path, artifacts: Sequence[Artifact]
) -> tuple[Mapping[str, float], Mapping[str, str]]:
    return metrics_of(folder, artifacts, spec.metrics)


def hold_nodes(links: Links, cluster: Cluster, command: str) -> None:
    """Nobody else runs trials on these nodes meanwhile. Busy names the other's user, machine and process."""
    holder = f"`{command}` of {_user()} on {platform.node()}, process {os.getpid()}"
    replies = [links.channel(n).begin("hold", path=NODE_LOCK, holder=holder) for n in cluster.nodes]
    for reply in replies:
        reply.wait()


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def standings_of(
    experiments: Sequence[ExperimentSpec],
    keys: Mapping[str, str],
    store: Store,
    *,
    accept_changed: bool = False,
) -> Standings:
    """Compare the trials that the experiments ask for with the evidence that there is."""
    jobs: list[Job] = []
    reasons: dict[str, Standing] = {}
    complete = 0
    for spec in experiments:
        for trial in trials(spec):
            standing = store.standing(trial, definition(spec, trial, keys))
            if accept_changed:
                standing = _accepted(standing, store)
            if not standing.to_run:
                complete += 1
                continue
            jobs.append(Job(spec=spec, trial=trial))
            reasons[trial.id] = standing
    return Standings(jobs=tuple(jobs), reasons=reasons, complete=complete)


def _accepted(standing: Standing, store: Store) -> Standing:
    """A complete trial of another definition counts as well, if its evidence is whole."""
    if standing.kind != "changed" or standing.record is None:
        return standing
    damages = store.verify(standing.record)
    return dataclasses.replace(
        standing,
        kind="damaged" if damages else "complete",
        damages=(*standing.damages, *damages),
    )


def provenance(
    experiment: str,
    store: Store,
    deployed: Deployed,
    cluster: Cluster,
    configuration: Mapping[str, bytes],
) -> dict[str, Any]:
    """Where a result comes from; larger things are kept once per experiment and named here."""
    return {
        "cloister": __version__,
        # Target → hash of all that decides what was deployed there; part of the definition.
        "keys": dict(deployed.keys),
        "python": platform.python_version(),
        "started_from": {"machine": platform.node(), "user": _user()},
        "cluster": {
            "name": cluster.name,
            "uid": cluster.uid,
            "provider": cluster.provider,
            "dollars_per_hour": cluster.dollars_per_hour,
        },
        "configuration": {
            name: store.keep(experiment, name, content) for name, content in configuration.items()
        },
        "sources": [
            {
                "folder": str(source.folder),
                "target": source.target,
                "key": source.key,
                "commit": source.commit,
                "diff": store.keep(experiment, "source.diff", source.diff) if source.dirty else "",
            }
            for source in deployed.sources
        ],
        "builds": [
            {
                "key": made.key,
                "machine": made.machine,
                "builder": made.builder,
                "artifacts": list(made.artifacts),
            }
            for made in deployed.builds
        ],
    }
