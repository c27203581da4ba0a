"""A benchmark in the layout experiments/cpp/NAME/NAME as an experiment: the template, filled in. Pure."""

from __future__ import annotations

import dataclasses
import re
import secrets
import time
from collections.abc import Sequence
from typing import Any

from cloister.config.spec import EndSpec, ExperimentSpec
from cloister.config.validating import nearest_hint
from cloister.errors import UsageError
from cloister.experiment.placement import Instance
from cloister.plan.observed import Node

MANAGER, WORKERS, MASTER = PARTS = ("manager", "workers", "master")
# In the environment of everything that is started, beside the cluster's own mark.
MARK = "CLOISTER_BENCHMARK"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,62}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What the flags say: `workers` nodes with `procs` processes on each."""

    name: str
    workers: int = 1
    procs: int = 1
    separate_worker: bool = False
    with_master: bool = True
    iterations: int = 1

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"-b {self.name!r} is not the name of a benchmark",
                hint="the name of a folder in experiments/cpp: letters, digits and _ . + -",
            )

    @property
    def executables(self) -> tuple[str, str]:
        return self.name, f"{self.name}-worker"


def run_identity() -> str:
    """Of one run: readable, in the order of time, and never the same twice."""
    return time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(4)


def template_of(experiments: Sequence[ExperimentSpec], source: str) -> ExperimentSpec:
    """The one experiment of a template; UsageError if `source` is not a template."""
    if len(experiments) != 1:
        names = ", ".join(experiment.name for experiment in experiments)
        raise UsageError(
            f"{source} has {len(experiments)} experiments ({names}), a template has one",
            hint="configs/run_experiment.yaml is the example",
        )
    template = experiments[0]
    for part in PARTS:
        if part not in template.processes:
            raise UsageError(
                f"{source}: the experiment {template.name} has no process {part!r}, so it is no template "
                "for run_experiment.py",
                hint=nearest_hint(part, set(template.processes) - set(PARTS))
                or "configs/run_experiment.yaml is the example",
            )
    return template


def filled(template: ExperimentSpec, benchmark: Benchmark, run: str) -> ExperimentSpec:
    """The experiment that the flags ask for: a point of its own, so that it is never another's result."""
    given: dict[str, Any] = {
        "run": run,
        "workers": benchmark.workers,
        "procs": benchmark.procs,
        "benchmark": benchmark.name,
        "separate_worker": benchmark.separate_worker,
    }
    processes = {
        name: process.model_copy(update={"env": {**process.env, MARK: benchmark.name}})
        for name, process in template.processes.items()
    }
    spec = template.model_copy(
        update={
            "parameters": {
                **given,
                **{k: v for k, v in template.parameters.items() if k not in given},
            },
            "processes": processes,
            "repeats": benchmark.iterations,
        }
    )
    return spec if benchmark.with_master else without(spec, MASTER, then_ends=WORKERS)


def without(spec: ExperimentSpec, part: str, *, then_ends: str = MASTER) -> ExperimentSpec:
    """The experiment without that process, which runs elsewhere or not at all, and what depends on it.

    then_ends: the process whose end is the trial's if the removed one's was.
    """
    processes = {
        name: process.model_copy(
            update={"after": [other for other in process.after if other != part]}
        )
        if process.after is not None
        else process
        for name, process in spec.processes.items()
        if name != part
    }
    metrics = {name: metric for name, metric in spec.metrics.items() if metric.process != part}
    changes = {"processes": processes, "metrics": metrics, "end": _end(spec, part, then_ends)}
    return spec.model_copy(update=changes)


def _end(spec: ExperimentSpec, part: str, then_ends: str) -> EndSpec | None:
    ends = spec.end.process if spec.end else list(spec.processes)[-1]
    names = [ends] if isinstance(ends, str) else ends
    if names is None or part not in names:
        return spec.end
    return EndSpec(process=[name for name in names if name != part] or then_ends)


def cast(manager: Node, master: Node, workers: Sequence[Node]) -> tuple[Node, ...]:
    """Each node once, with exactly the roles that it plays here; workers in the order given."""
    parts = [(manager, MANAGER), (master, MASTER), *((node, WORKERS) for node in workers)]
    roles: dict[str, list[str]] = {}
    for node, part in parts:
        roles.setdefault(node.name, []).append(part)
    # Workers first: the order of a role's nodes is the order of the nodes.
    nodes = {node.name: node for node in (*workers, manager, master)}
    return tuple(
        dataclasses.replace(node, roles=tuple(dict.fromkeys(roles[name])), number=number)
        for number, (name, node) in enumerate(nodes.items(), start=1)
    )


def ports_by_node(instances: Sequence[Instance]) -> dict[str, tuple[int, ...]]:
    """Every port that the template gives to a process, by the node that the process is on."""
    ports: dict[str, set[int]] = {}
    for instance in instances:
        here = ports.setdefault(instance.node.name, set())
        here.update(instance.ports.values())
        if instance.ready is not None and instance.ready.kind == "port":
            here.add(int(instance.ready.value))
    return {name: tuple(sorted(numbers)) for name, numbers in ports.items()}


def manager_port(instances: Sequence[Instance]) -> int | None:
    """Where the manager listens when it is ready; None if the template says otherwise how that is seen."""
    for instance in instances:
        if instance.process == MANAGER and instance.ready and instance.ready.kind == "port":
            return int(instance.ready.value)
    return None
