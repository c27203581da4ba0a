"""Machines that are there already: used as they are, never started, changed or destroyed."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloister.durable import read_json, write_json
from cloister.errors import ProviderError
from cloister.plan.actions import Plan
from cloister.plan.observed import Node, Observed, ObservedNode
from cloister.providers.nodes import node_from_json, node_to_json
from cloister.providers.openssh import ssh_settings
from cloister.providers.provider import NodeEvent, Report
from cloister.providers.record import claimed, cluster_folder, forget, read_record
from cloister.providers.removing import remove_tree

if TYPE_CHECKING:
    from cloister.config.spec import ClusterSpec

_FILE = "manual.json"
_PROBES_AT_ONCE = 64
_PROBE_S_MAX = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ManualProvider:
    """`clusters` is the folder of all clusters' folders; `spec` is needed only to launch."""

    clusters: Path
    spec: ClusterSpec | None = None

    def observe(self, name: str, *, everywhere: bool = False) -> Observed:
        """Each node probed by a TCP connection to its SSH port, all at once."""
        folder = cluster_folder(self.clusters, name)
        record = read_record(folder)
        nodes = _read(folder)
        return Observed(
            name=name,
            provider="manual",
            uid=record.uid if record else "",
            nodes=_probed(nodes),
            leftovers=(str(folder),) if record is None and folder.exists() else (),
        )

    def apply(self, plan: Plan, report: Report) -> None:
        """Only the record changes."""
        folder = cluster_folder(self.clusters, plan.cluster)
        if plan.removes_cluster:
            _forget(folder)
        elif plan.launches or plan.kept or plan.removals:
            self._record(folder, plan)
        for removal in plan.removals:
            report(NodeEvent(node=removal.name, kind="removed", detail="no longer used"))
        for launch in plan.launches:
            report(NodeEvent(node=launch.name, kind="running", detail=launch.node.address))

    def _record(self, folder: Path, plan: Plan) -> None:
        if self.spec is None:
            raise ValueError("a manual provider without a specification cannot launch")
        claimed(self.clusters, self.spec)
        used = {keep.name: keep.node for keep in plan.kept}
        used |= {launch.name: launch.node for launch in plan.launches}
        order = [spec.name for spec in self.spec.nodes]
        nodes = [node_to_json(used[name]) for name in order if name in used]
        try:
            write_json(folder / _FILE, nodes, mode=0o600, durably=True)
        except OSError as error:
            raise ProviderError(f"recording the nodes of {plan.cluster}: {error}") from error


def _forget(folder: Path) -> None:
    """The record goes last: until then the cluster can still be found and forgotten."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.name != "cluster.json":
            remove_tree(path)
    forget(folder)
    remove_tree(folder)


def _read(folder: Path) -> list[Node]:
    data = read_json(folder / _FILE)
    entries: list[Any] = data if isinstance(data, list) else []
    return [node for entry in entries if (node := node_from_json(entry))]


def _probed(nodes: Sequence[Node]) -> tuple[ObservedNode, ...]:
    if not nodes:
        return ()
    with ThreadPoolExecutor(min(_PROBES_AT_ONCE, len(nodes))) as pool:
        return tuple(pool.map(_probe, nodes))


def _probe(node: Node) -> ObservedNode:
    if node.gateway:
        return ObservedNode(node=node, state="running", detail="behind a gateway, not probed")
    settings = ssh_settings(node.address, user=node.user, port=node.port)
    if settings.proxy_jump or settings.proxy_command:
        return ObservedNode(node=node, state="running", detail="behind a proxy, not probed")
    target = f"{settings.hostname}:{settings.port}"
    try:
        limit_s = min(node.connect_timeout_s, _PROBE_S_MAX)
        socket.create_connection((settings.hostname, settings.port), timeout=limit_s).close()
    except OSError as error:
        what = error.strerror or str(error) or "no answer"
        return ObservedNode(node=node, state="dead", detail=f"connecting to {target}: {what}")
    return ObservedNode(node=node, state="running")
