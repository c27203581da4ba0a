"""What the names in a template stand for: nodes, processes, ports, the trial and its parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from cloister.config.spec import ExperimentSpec
from cloister.experiment.layout import Layout, Slot
from cloister.experiment.trial import Trial
from cloister.plan.observed import Node


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeNames:
    """`address` is the one that other nodes use; `index` counts from 0 within `role`."""

    name: str
    address: str
    private_address: str
    public_address: str
    role: str
    roles: tuple[str, ...]
    number: int
    index: int
    region: str
    labels: Mapping[str, object]
    work_folder: str

    def __str__(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True, kw_only=True)
class InstanceNames:
    """One instance of a process, as the others see it."""

    node: NodeNames
    address: str
    ports: Mapping[str, int]
    instance: int
    number: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessNames:
    """The process that the template belongs to; `instances` is how many there are in all."""

    name: str
    instance: int
    number: int
    instances: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialNames:
    id: str
    experiment: str
    point: str
    repeat: int
    seed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusterNames:
    name: str

    def __str__(self) -> str:
        return self.name


def nested(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as tables in tables, so that `{{ client.rate }}` finds `client.rate`."""
    names: dict[str, Any] = {}
    for name, value in parameters.items():
        *tables, last = name.split(".")
        table = names
        for part in tables:
            inner = table.get(part)
            table[part] = table = inner if isinstance(inner, dict) else {}
        table[last] = value
    return names


def base_names(trial: Trial, cluster: str) -> dict[str, Any]:
    """What counts may use: everything that does not depend on nodes."""
    return {
        **nested(trial.parameters),
        "trial": TrialNames(
            id=trial.id,
            experiment=trial.experiment,
            point=trial.point,
            repeat=trial.repeat,
            seed=trial.seed,
        ),
        "cluster": ClusterNames(name=cluster),
        "seed": trial.seed,
    }


def role_names(layout: Layout) -> dict[str, tuple[NodeNames, ...]]:
    return {
        role: tuple(_node_names(node, role, index) for index, node in enumerate(used))
        for role, used in layout.used.items()
    }


def layout_names(spec: ExperimentSpec, layout: Layout) -> dict[str, Any]:
    """What the templates of all instances share: the nodes, and who runs on them."""
    nodes = role_names(layout)
    by_name = {(role, entry.name): entry for role, used in nodes.items() for entry in used}
    processes = {
        name: tuple(
            _instance_names(slot, by_name[(spec.processes[name].role, slot.node.name)])
            for slot in slots
        )
        for name, slots in layout.slots.items()
    }
    return {"nodes": nodes, "processes": processes}


def own_names(names: Mapping[str, Any], process: str, index: int) -> dict[str, Any]:
    """What one instance's templates know of it, given `layout_names`."""
    instances = names["processes"][process]
    own: InstanceNames = instances[index]
    return {
        "node": own.node,
        "ports": own.ports,
        "process": ProcessNames(
            name=process, instance=own.instance, number=own.number, instances=len(instances)
        ),
    }


def _node_names(node: Node, role: str, index: int) -> NodeNames:
    return NodeNames(
        name=node.name,
        address=node.private_address,
        private_address=node.private_address,
        public_address=node.address,
        role=role,
        roles=node.roles,
        number=node.number,
        index=index,
        region=node.region,
        labels=node.labels,
        work_folder=node.work_folder,
    )


def _instance_names(slot: Slot, node: NodeNames) -> InstanceNames:
    return InstanceNames(
        node=node,
        address=node.address,
        ports=slot.ports,
        instance=slot.instance,
        number=slot.number,
    )
