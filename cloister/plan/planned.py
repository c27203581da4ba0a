"""The nodes that a configuration asks for, before anything exists: names, roles, what it fixes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from cloister.config.spec import ClusterSpec, ManualNodeSpec, RoleSpec
from cloister.plan.observed import Node

# Nodes on this machine share its network: no two can listen on the same port of all addresses.
_THIS_MACHINE = "this machine"


def planned_nodes(cluster: ClusterSpec) -> tuple[Node, ...]:
    """In launch order; the address is empty where the provider is going to choose it."""
    match cluster.provider:
        case "manual":
            return _manual_nodes(cluster)
        case "ec2":
            return tuple(_on_ec2(cluster, node) for node in _made_nodes(cluster))
        case "local":
            return tuple(_on_this_machine(cluster, node) for node in _made_nodes(cluster))


def _made_nodes(cluster: ClusterSpec) -> Iterator[Node]:
    """Of a provider that makes its nodes; the region is empty where the credentials' own one is meant."""
    for role, spec in cluster.roles.items():
        if spec.same_as is not None:
            continue
        for number, region in enumerate(_regions(cluster, spec), 1):
            yield Node(
                name=f"{role}{number}",
                roles=(role, *_also(cluster, role)),
                number=number,
                address="",
                private_address="",
                connect_timeout_s=cluster.ssh.connect_timeout,
                region=region,
                work_folder=cluster.work_folder,
            )


def _on_this_machine(cluster: ClusterSpec, node: Node) -> Node:
    return dataclasses.replace(node, port=cluster.local.port, region="", port_space=_THIS_MACHINE)


def _on_ec2(cluster: ClusterSpec, node: Node) -> Node:
    ssh = cluster.ssh
    return dataclasses.replace(node, user=ssh.user, port=ssh.port, key=ssh.key, gateway=ssh.gateway)


def _regions(cluster: ClusterSpec, role: RoleSpec) -> list[str]:
    """One for each node: the role's regions take the numbers in their order."""
    if role.regions is None:
        return [cluster.ec2.region or ""] * role.count
    return [region for region, count in role.regions.items() for _ in range(count)]


def _manual_nodes(cluster: ClusterSpec) -> tuple[Node, ...]:
    nodes: list[Node] = []
    numbers: dict[str, int] = {}
    for spec in cluster.nodes:
        first = spec.roles[0]
        numbers[first] = numbers.get(first, 0) + 1
        nodes.append(_manual_node(cluster, spec, numbers[first]))
    return tuple(nodes)


def _manual_node(cluster: ClusterSpec, spec: ManualNodeSpec, number: int) -> Node:
    also = [other for role in spec.roles for other in _also(cluster, role)]
    return Node(
        name=spec.name,
        roles=tuple(dict.fromkeys([*spec.roles, *also])),
        number=number,
        address=spec.address,
        private_address=spec.private_address or spec.address,
        user=spec.user or cluster.ssh.user,
        port=spec.port or cluster.ssh.port,
        key=spec.key or cluster.ssh.key,
        gateway=cluster.ssh.gateway,
        host_key=spec.host_key or "",
        connect_timeout_s=cluster.ssh.connect_timeout,
        region=spec.region or "",
        labels=dict(spec.labels),
        port_space=spec.name,
        work_folder=cluster.work_folder,
    )


def _also(cluster: ClusterSpec, role: str) -> list[str]:
    """The roles that the nodes of this role carry as well, through any number of `same_as`."""
    carried: list[str] = []
    frontier = [role]
    while frontier:
        target = frontier.pop()
        for name, spec in cluster.roles.items():
            if spec.same_as == target and name != role and name not in carried:
                carried.append(name)
                frontier.append(name)
    return carried
