"""The trials of run_experiment.py: `cloister run`'s own stage and runner, every trial a new one."""

from __future__ import annotations

import posixpath
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from cloister.cluster import Cluster
from cloister.config.spec import ExperimentSpec, SyncSpec
from cloister.errors import UsageError
from cloister.experiment.benchmark import MANAGER, Benchmark, manager_port, without
from cloister.experiment.killing import Found, listeners
from cloister.experiment.placement import Instance, place
from cloister.experiment.record import TrialRecord
from cloister.experiment.runner import Job
from cloister.experiment.trial import Trial, trials
from cloister.plan.observed import Node
from cloister.results.conduct import Conducted, Stage, Standings, Watcher, conducted, staged
from cloister.results.store import Store
from cloister.transport.fold import fold
from cloister.transport.links import Links

_LOOK_WITHIN_S = 30.0

# experiment → UsageError if it cannot run on these nodes
Check = Callable[[ExperimentSpec], None]


def run_benchmark(
    spec: ExperimentSpec,
    deploys: Sequence[SyncSpec],
    benchmark: Benchmark,
    cluster: Cluster,
    store: Store,
    *,
    configuration: Mapping[str, bytes],
    check: Check,
    watcher: Watcher,
) -> tuple[Conducted, list[TrialRecord]]:
    """Every trial of the specification, whatever was measured before; see `filled`."""
    began = time.monotonic()
    every = trials(spec)
    with staged(
        deploys,
        cluster,
        store,
        configuration=configuration,
        watcher=watcher,
        command="run_experiment.py",
    ) as stage:
        expect_programs(
            stage.links, place(spec, every[0], cluster.nodes, cluster=cluster.name), benchmark
        )
        jobs = tuple(Job(spec=spec, trial=trial) for trial in every)
        watcher.on_standings(Standings(jobs=jobs, reasons={}, complete=0))
        chosen = _with_found_managers(stage, spec, every, benchmark, check)
        records = list(stage.carry_out(spec.name, chosen))
    return conducted(Counter(record.verdict for record in records), began), records


def _with_found_managers(
    stage: Stage,
    spec: ExperimentSpec,
    every: Sequence[Trial],
    benchmark: Benchmark,
    check: Check,
) -> Iterator[Job]:
    """Before each trial, as a manager that was started by hand may serve one trial or many."""
    for trial in every:
        manager = _manager_by_hand(stage, spec, trial, benchmark)
        if manager is None:
            yield Job(spec=spec, trial=trial)
            continue
        stage.watcher.say(
            f"using the manager that runs on {manager.node}: process {manager.pid}, {manager.command}"
        )
        served = without(spec, MANAGER)
        check(served)
        yield Job(spec=served, trial=trial)


def _manager_by_hand(
    stage: Stage, spec: ExperimentSpec, trial: Trial, benchmark: Benchmark
) -> Found | None:
    """UsageError if what listens in the manager's place is not a manager of this benchmark."""
    instances = place(spec, trial, stage.cluster.nodes, cluster=stage.cluster.name)
    port = manager_port(instances)
    if port is None:
        return None
    node = next(instance.node for instance in instances if instance.process == MANAGER)
    found, others = listeners(stage.links, node, port, stage.cluster.uid)
    for entry in found:
        if entry.benchmark == benchmark.name or entry.executable == benchmark.name:
            return entry
    strangers = [f"process {entry.pid} ({entry.command})" for entry in found] + list(others)
    if strangers:
        raise UsageError(
            f"port {port} of the manager on {node.name} is taken by {strangers[0]}",
            hint="`-a killall` ends what is not another cluster's; the template gives the manager "
            "another port",
        )
    return None


# --- programs ------------------------------------------------------------------------------------


def expect_programs(links: Links, instances: Sequence[Instance], benchmark: Benchmark) -> None:
    """UsageError if a program of the benchmark is not there: better said before than by every trial."""
    wanted: dict[str, dict[str, None]] = {}
    nodes: dict[str, Node] = {}
    for instance in instances:
        nodes[instance.node.name] = instance.node
        if path := _program(instance):
            wanted.setdefault(instance.node.name, {})[path] = None
    started = [
        (name, links.channel(nodes[name]).start(_look_for(list(paths)), once=True))
        for name, paths in wanted.items()
    ]
    missing: dict[str, list[str]] = {}
    for name, process in started:
        for path in process.wait(_LOOK_WITHIN_S).stdout.decode("utf-8", "replace").splitlines():
            missing.setdefault(path, []).append(name)
    if missing:
        lines = [f"{path} on {fold(names)}" for path, names in missing.items()]
        raise UsageError(
            f"not there, or no program: {'; '.join(lines)} (below the work folder)",
            hint=f"`run_experiment.py -a make -b {benchmark.name}` builds it where its code is; "
            "`cloister sync` brings code to the nodes",
        )


def _program(instance: Instance) -> str:
    """The path of what the command runs, if it is a path and can be told."""
    words: Sequence[str] = ()
    try:
        command = instance.command
        words = shlex.split(command) if isinstance(command, str) else command
    except ValueError:
        return ""
    if not words or "/" not in words[0] or "$" in words[0] or words[0].startswith("~"):
        return ""
    return posixpath.normpath(posixpath.join(instance.folder, words[0]))


def _look_for(paths: Sequence[str]) -> list[str]:
    script = 'for path; do [ -f "$path" ] && [ -x "$path" ] || echo "$path"; done'
    return ["/bin/sh", "-c", script, "sh", *paths]
