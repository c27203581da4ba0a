"""Everything about the experiments that can be found wrong before anything is launched."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from cloister.config.loading import Configuration
from cloister.config.problems import Problem, in_reading_order
from cloister.config.spec import ClusterSpec, ExperimentSpec
from cloister.config.validating import nearest_hint
from cloister.experiment.faults import Fault
from cloister.experiment.order import order_faults
from cloister.experiment.parameter_faults import parameter_faults
from cloister.experiment.point_faults import point_faults
from cloister.experiment.trial import points
from cloister.plan.observed import Node
from cloister.plan.planned import planned_nodes


def check(configuration: Configuration) -> list[Problem]:
    """Every problem of every experiment, each once, at its place.

    Without a cluster only what does not depend on nodes is looked at.
    """
    cluster = configuration.cluster
    nodes = stand_ins(cluster) if cluster else ()
    name = cluster.name if cluster else ""
    return in_reading_order(
        configuration.problem(("experiments", index, *fault.key), fault.message, fault.hint)
        for index, spec in zip(configuration.positions, configuration.experiments, strict=True)
        for fault in faults(spec, nodes, name)
    )


def stand_ins(cluster: ClusterSpec) -> tuple[Node, ...]:
    """The cluster's nodes, with some address where the provider has not chosen one yet."""
    return tuple(
        node
        if node.address
        else dataclasses.replace(node, address="192.0.2.1", private_address="192.0.2.1")
        for node in planned_nodes(cluster)
    )


def faults(spec: ExperimentSpec, nodes: Sequence[Node], cluster: str) -> list[Fault]:
    """Of one experiment; the points are not looked at if the parameters are wrong already."""
    found = [*parameter_faults(spec), *order_faults(spec), *_of_metrics(spec)]
    if any(fault.key[0] in ("parameters", "sweep", "points", "repeats") for fault in found):
        return found
    every = points(spec)
    if not every:
        key = ("exclude",) if spec.exclude else ("sweep",)
        if not any(fault.key[0] == "exclude" for fault in found):
            found.append(Fault(key=key, message="no point is left to run"))
        return found
    return found + (point_faults(spec, every, nodes, cluster) if nodes else [])


def _of_metrics(spec: ExperimentSpec) -> Iterator[Fault]:
    for name, metric in spec.metrics.items():
        process = spec.processes.get(metric.process)
        if process is None:
            yield Fault(
                key=("metrics", name, "process"),
                message=f"there is no process {metric.process!r}",
                hint=nearest_hint(metric.process, spec.processes),
            )
        elif metric.file is not None and not process.collect:
            yield Fault(
                key=("metrics", name, "file"),
                message=f"the process {metric.process!r} collects no files",
                hint=f"add collect to it, for example collect: [{metric.file}]",
            )
