"""Nodes that are sshd processes on this machine; the truth is the processes, files only describe them."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cloister.durable import write_whole
from cloister.errors import ProviderError
from cloister.plan.actions import Keep, Launch, Plan, Remove
from cloister.plan.observed import Node, Observed
from cloister.providers.keys import new_key_pair, write_private_key
from cloister.providers.local.addresses import free_addresses, free_port
from cloister.providers.local.ending import Find, end_processes, resume
from cloister.providers.local.folders import ClusterFolder, read_node, write_node
from cloister.providers.local.observing import observed_cluster
from cloister.providers.local.processes import ClusterProcess, Process, cluster_processes
from cloister.providers.local.sshd import Machine, prepare, sshd_config, this_machine
from cloister.providers.local.starting import start_sshds
from cloister.providers.provider import NodeEvent, Report
from cloister.providers.record import claimed, cluster_folder, forget, read_record
from cloister.providers.removing import remove_tree

if TYPE_CHECKING:
    from cloister.config.spec import ClusterSpec

_SESSION = Path(__file__).with_name("session.sh")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalProvider:
    """`clusters` is the folder of all clusters' folders; `spec` is needed only to launch."""

    clusters: Path
    spec: ClusterSpec | None = None

    def observe(self, name: str, *, everywhere: bool = False) -> Observed:
        return observed_cluster(cluster_folder(self.clusters, name))

    def apply(self, plan: Plan, report: Report) -> None:
        folder = ClusterFolder(path=cluster_folder(self.clusters, plan.cluster))
        _remove(folder, plan.removals, report)
        if plan.removes_cluster:
            _remove_cluster(folder)
        if plan.launches or plan.kept:
            self._launch(folder, plan.launches, plan.kept, report)

    def _launch(
        self,
        folder: ClusterFolder,
        launches: Sequence[Launch],
        kept: Sequence[Keep],
        report: Report,
    ) -> None:
        if self.spec is None:
            raise ValueError("a local provider without a specification cannot launch")
        machine = this_machine()
        try:
            uid = claimed(self.clusters, self.spec).uid
            _describe_anew(folder, kept)
            resume(_finding(folder, {keep.name for keep in kept}))
            nodes = self._prepared(machine, folder, uid, [launch.node for launch in launches])
            for node in nodes:
                report(NodeEvent(node=node.name, kind="launching", detail=node.address))
            if nodes:
                start_sshds(machine, folder, uid, nodes, lambda node: _running(node, report))
        except BaseException as error:
            # Ctrl-C too: what this launch began is of no use to anybody.
            _undo(folder, launches, report)
            if isinstance(error, OSError):
                raise _write_failed(folder, error) from error
            raise

    def _prepared(
        self, machine: Machine, folder: ClusterFolder, uid: str, planned: Sequence[Node]
    ) -> list[Node]:
        """The nodes with address, port and keys, written down; nothing runs yet."""
        if not planned or self.spec is None:
            return []
        prepare(machine)
        _clear(folder, [node.name for node in planned])
        _write_cluster_files(folder)
        with _choosing_addresses(self.clusters):
            nodes = self._with_addresses(machine, folder, planned)
            for node in nodes:
                folder.node(node.name).path.mkdir(mode=0o700, parents=True)
                write_node(folder.node(node.name), node)
        return [_with_files(machine, folder, uid, node) for node in nodes]

    def _with_addresses(
        self, machine: Machine, folder: ClusterFolder, planned: Sequence[Node]
    ) -> list[Node]:
        assert self.spec is not None
        port = free_port(self.spec.local.port)
        addresses = free_addresses(
            self.spec.local.network,
            seed=f"{machine.user}/{self.spec.name}",
            count=len(planned),
            port=port,
            taken=_taken(self.clusters),
        )
        return [
            dataclasses.replace(
                node,
                address=address,
                private_address=address,
                port=port,
                user=machine.user,
                key=str(folder.client_key),
            )
            for node, address in zip(planned, addresses, strict=True)
        ]


def _running(node: Node, report: Report) -> None:
    report(NodeEvent(node=node.name, kind="running", detail=f"{node.address}:{node.port}"))


def _describe_anew(folder: ClusterFolder, kept: Sequence[Keep]) -> None:
    for keep in kept:
        if read_node(folder.node(keep.name)) != keep.node:
            write_node(folder.node(keep.name), keep.node)


def _write_cluster_files(folder: ClusterFolder) -> None:
    folder.nodes.mkdir(mode=0o700, exist_ok=True)
    if not folder.authorized_keys.exists():
        # The private key is written first: a crash in between makes both anew.
        pair = new_key_pair()
        write_private_key(folder.client_key, pair.private)
        write_whole(folder.authorized_keys, pair.public + "\n")
    # A copy, so that a cluster outlives the installation that launched it; whole at any time, because
    # nodes that are kept may be starting sessions.
    write_whole(folder.session, _SESSION.read_text())


def _with_files(machine: Machine, cluster: ClusterFolder, uid: str, node: Node) -> Node:
    folder = cluster.node(node.name)
    pair = new_key_pair()
    complete = dataclasses.replace(node, host_key=pair.public)
    write_private_key(folder.host_key, pair.private)
    folder.home.mkdir(mode=0o755)
    (folder.home / node.work_folder).mkdir(parents=True, exist_ok=True)
    folder.config.write_text(sshd_config(machine, cluster, complete, uid))
    write_node(folder, complete)
    return complete


@contextmanager
def _choosing_addresses(clusters: Path) -> Iterator[None]:
    """Two launches at once would choose the same addresses: one chooses and writes them down at a time."""
    descriptor = os.open(clusters, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _taken(clusters: Path) -> set[str]:
    """The addresses of nodes of every cluster, dead ones too: they may be about to start."""
    folders = [ClusterFolder(path=path) for path in clusters.iterdir()]
    nodes = (read_node(node) for folder in folders for node in folder.all_nodes())
    return {node.address for node in nodes if node}


def _clear(folder: ClusterFolder, names: Sequence[str]) -> None:
    """What an interrupted launch or destroy left of these nodes, a start under way included."""
    _end(folder, set(names))
    for name in names:
        remove_tree(folder.node(name).path)


def _remove(folder: ClusterFolder, removals: Sequence[Remove], report: Report) -> None:
    if not removals:
        return
    for removal in removals:
        report(NodeEvent(node=removal.name, kind="removing", detail=removal.reason))
    # All at once: each search for processes looks at every process of the machine.
    _end(folder, {removal.name for removal in removals})
    for removal in removals:
        remove_tree(folder.node(removal.name).path)
        report(NodeEvent(node=removal.name, kind="removed"))


def _remove_cluster(folder: ClusterFolder) -> None:
    """The record goes last, so that a crash at any instant leaves a cluster that can be destroyed."""
    _end(folder, None)
    if not folder.path.is_dir():
        return
    for path in folder.path.iterdir():
        if path.name != "cluster.json":
            remove_tree(path)
    forget(folder.path)
    remove_tree(folder.path)


def _end(folder: ClusterFolder, names: set[str] | None) -> int:
    """End the processes of these nodes, or all of the cluster's; how many there were."""
    return end_processes(_finding(folder, names))


def _finding(folder: ClusterFolder, names: set[str] | None) -> Find:
    """Finds the processes of these nodes, or all of the cluster's, in a table of processes."""
    record = read_record(folder.path)
    uid = record.uid if record else ""

    def find(table: Mapping[int, Process]) -> list[ClusterProcess]:
        found = cluster_processes(folder.path, uid, table).values()
        return [entry for entry in found if names is None or _concerns(entry, names)]

    return find


def _concerns(entry: ClusterProcess, names: set[str]) -> bool:
    """A warden without a node is a start that its command did not live to see; it may start any node.

    Whoever applies a plan holds the cluster's lock, so that it is nobody's who still waits for it.
    """
    return entry.node in names or (entry.part == "warden" and not entry.node)


def _undo(folder: ClusterFolder, launches: Sequence[Launch], report: Report) -> None:
    """Only what this launch began; the cluster itself if that was all of it."""
    _clear(folder, [launch.name for launch in launches])
    if not folder.all_nodes():
        _remove_cluster(folder)
    for launch in launches:
        report(NodeEvent(node=launch.name, kind="failed", detail="undone"))


def _write_failed(folder: ClusterFolder, error: OSError) -> ProviderError:
    hint = ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "make room, or let CLOISTER_STATE name a folder on another disk"
    return ProviderError(
        f"launching local nodes in {folder.path}: {error.strerror}; nothing of them was left",
        hint=hint,
    )
