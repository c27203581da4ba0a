"""From what is asked for and what exists to what has to change; pure."""

from __future__ import annotations

import dataclasses

from cloister.config.spec import ClusterSpec
from cloister.plan.actions import Action, Keep, Launch, Plan, Remove, RemoveRest
from cloister.plan.observed import Node, Observed, ObservedNode
from cloister.plan.planned import planned_nodes


def launch_plan(spec: ClusterSpec, observed: Observed) -> Plan:
    """Missing nodes are launched, dead ones replaced, surplus ones removed, the others kept."""
    planned = planned_nodes(spec)
    existing = {entry.node.name: entry for entry in observed.nodes}
    names = {node.name for node in planned}
    actions: list[Action] = [
        Remove(name=name, reason="the configuration no longer has it")
        for name in existing
        if name not in names
    ]
    for node in planned:
        placed = dataclasses.replace(node, region=node.region or observed.region)
        actions += _actions(spec, placed, existing.get(node.name))
    return Plan(cluster=spec.name, provider=spec.provider, actions=tuple(actions))


def destroy_plan(observed: Observed) -> Plan:
    """Everything that was observed goes; a plan without actions when nothing was."""
    actions: list[Action] = [
        Remove(name=entry.node.name, reason="destroy") for entry in observed.nodes
    ]
    if observed.exists:
        actions.append(RemoveRest(leftovers=observed.leftovers))
    return Plan(cluster=observed.name, provider=observed.provider, actions=tuple(actions))


def _actions(spec: ClusterSpec, node: Node, existing: ObservedNode | None) -> list[Action]:
    if existing is None:
        return [Launch(node=node, reason="missing")]
    if spec.provider == "manual":
        return [Keep(node=node)]
    reason = _why_replace(node, existing)
    if reason:
        return [
            Remove(name=node.name, reason=reason),
            Launch(node=node, reason=reason),
        ]
    return [Keep(node=_described_anew(existing.node, node))]


def _why_replace(node: Node, existing: ObservedNode) -> str:
    if existing.state == "dead":
        return f"dead: {existing.detail}" if existing.detail else "dead"
    if node.port is not None and node.port != existing.node.port:
        return f"its port is {existing.node.port}, the configuration says {node.port}"
    if node.region != existing.node.region:
        return f"it is in {existing.node.region}, the configuration says {node.region}"
    return ""


def _described_anew(existing: Node, planned: Node) -> Node:
    """What a running node is for may change without touching it."""
    return dataclasses.replace(
        existing,
        roles=planned.roles,
        number=planned.number,
        connect_timeout_s=planned.connect_timeout_s,
        labels=planned.labels,
        work_folder=planned.work_folder,
    )
