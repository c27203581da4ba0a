"""What exists of a local cluster: its processes and folders, each node judged by its sshd."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cloister.plan.observed import Node, Observed, ObservedNode
from cloister.providers.local.folders import ClusterFolder, read_node
from cloister.providers.local.listeners import listeners
from cloister.providers.local.processes import ClusterProcess, cluster_processes
from cloister.providers.record import ClusterRecord, read_record

_STOPPED = "T"
_LEFTOVERS_MAX = 20


def observed_cluster(path: Path) -> Observed:
    """Reads only; a cluster of which nothing exists has no uid, nodes or leftovers."""
    record = read_record(path)
    processes = cluster_processes(path, record.uid if record else "")
    folder = ClusterFolder(path=path)
    nodes = _nodes(folder)
    if record is not None:
        nodes.sort(key=lambda node: _launch_order(record, node))
    present = {(entry.address, entry.port) for entry in listeners()} if nodes else set()
    return Observed(
        name=path.name,
        provider="local",
        uid=record.uid if record else _uid_of(processes.values()),
        nodes=tuple(_judged(node, processes.values(), present) for node in nodes),
        leftovers=_leftovers(folder, nodes, processes.values(), record),
    )


def _nodes(folder: ClusterFolder) -> list[Node]:
    return [node for entry in folder.all_nodes() if (node := read_node(entry))]


def _launch_order(record: ClusterRecord, node: Node) -> tuple[Any, ...]:
    roles = list(record.spec.get("roles", {}))
    first = node.roles[0] if node.roles else ""
    place = roles.index(first) if first in roles else len(roles)
    return place, first, node.number, node.name


def _judged(
    node: Node, processes: Iterable[ClusterProcess], present: set[tuple[str, int]]
) -> ObservedNode:
    sshds = [
        entry.process
        for entry in processes
        # The sshd that listens is the one with the configuration on its command line.
        if entry.part == "sshd"
        and entry.node == node.name
        and f"/{node.name}/sshd_config" in " ".join(entry.process.command)
    ]
    if not sshds:
        return ObservedNode(node=node, state="dead", detail="its sshd is gone")
    if (node.address, node.port) not in present:
        return ObservedNode(node=node, state="starting", detail="its sshd does not listen yet")
    stopped = [process.pid for process in sshds if process.state in "Tt"]
    if stopped:
        detail = f"its sshd is stopped (SIGSTOP, process {stopped[0]})"
        return ObservedNode(node=node, state="running", detail=detail)
    return ObservedNode(node=node, state="running")


def _leftovers(
    folder: ClusterFolder,
    nodes: Iterable[Node],
    processes: Iterable[ClusterProcess],
    record: ClusterRecord | None,
) -> tuple[str, ...]:
    """Processes and folders of nodes that no record describes."""
    known = {node.name for node in nodes}
    strays = [str(entry.process) for entry in processes if entry.node not in known]
    if len(strays) > _LEFTOVERS_MAX:
        strays[_LEFTOVERS_MAX:] = [f"{len(strays) - _LEFTOVERS_MAX} more processes"]
    folders = [str(entry.path) for entry in folder.all_nodes() if entry.name not in known]
    if record is None and folder.path.exists():
        folders.append(str(folder.path))
    return tuple(strays + folders)


def _uid_of(processes: Iterable[ClusterProcess]) -> str:
    return next((entry.process.mark for entry in processes if entry.process.mark), "")
