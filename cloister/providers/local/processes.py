"""The processes of a local cluster, each with the proof that it is the cluster's.

A process belongs to a cluster when one of these holds:
* it is a warden: its command line names the cluster's folder;
* it is the sshd of a node: named sshd, with the node's sshd_config on its command line, or with the
  node's log as its standard error (sshd overwrites its environment with its title, so no mark there);
* its environment carries the cluster's mark, which every session of a node has;
* it descends from one of these (a warden is a subreaper: daemons stay its descendants);
* it is an orphan without a terminal that works in the cluster's folder: what is left when somebody
  killed the warden too. A shell in which a person looks at the logs is neither.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

_WARDEN = "warden.py"
_DELETED = " (deleted)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Process:
    """`started` is in clock ticks since boot; with `pid` it names a process for ever."""

    pid: int
    started: int
    parent: int
    state: str
    name: str
    has_terminal: bool
    command: tuple[str, ...]
    folder: str
    mark: str
    marked_node: str
    log: str

    def __str__(self) -> str:
        return f"{' '.join(self.command)[:80] or self.name} (process {self.pid})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusterProcess:
    """`node` is empty for a process of the cluster of which nobody knows the node."""

    process: Process
    node: str
    part: str  # "warden", "sshd" or "stray"


def cluster_processes(
    cluster: Path, uid: str, table: Mapping[int, Process] | None = None
) -> dict[int, ClusterProcess]:
    """By process id; zombies are not counted, as they hold nothing."""
    table = all_processes() if table is None else table
    uids = {uid} if uid else set()
    uids |= {process.mark for process in table.values() if _warden_of(process) == str(cluster)}
    found = {
        pid: proof
        for pid, process in table.items()
        if (proof := _proof(process, cluster, uids, table))
    }
    return _with_descendants(found, table)


def clusters_with_wardens(clusters: Path, table: Mapping[int, Process]) -> set[str]:
    """The names of clusters below this folder of which a warden runs, even if the folder is gone."""
    folders = (Path(folder) for process in table.values() if (folder := _warden_of(process)))
    return {folder.name for folder in folders if folder.parent == clusters}


def all_processes() -> dict[int, Process]:
    """Of this machine, by process id, without zombies; empty where there is no /proc."""
    table: dict[int, Process] = {}
    if not Path("/proc/self/stat").exists():
        return table
    for entry in os.listdir("/proc"):  # noqa: PTH208 - a Path per process costs more than the rest
        if entry.isdigit():
            process = _process(entry)
            if process is not None and process.state not in "ZX":
                table[process.pid] = process
    return table


def ancestors(pid: int, table: Mapping[int, Process]) -> list[int]:
    """The process itself, its parent, and so on."""
    chain = []
    while pid in table and pid not in chain:
        chain.append(pid)
        pid = table[pid].parent
    return chain


def _process(pid: str) -> Process | None:
    """None when it has ended meanwhile; what this user may not read stays empty."""
    base = f"/proc/{pid}/"
    stat = _read(base + "stat")
    if not stat:
        return None
    # The name is in parentheses and may contain any character, a ')' too.
    head, _, tail = stat.rpartition(b")")
    fields = tail.split()
    environment = _read(base + "environ")
    name = head.partition(b"(")[2].decode(errors="replace")
    return Process(
        pid=int(pid),
        started=int(fields[19]),
        parent=int(fields[1]),
        state=fields[0].decode(),
        name=name,
        has_terminal=fields[4] != b"0",
        command=tuple(_read(base + "cmdline").decode(errors="replace").rstrip("\0").split("\0")),
        folder=_link(base + "cwd").removesuffix(_DELETED),
        mark=_variable(environment, b"CLOISTER_CLUSTER="),
        marked_node=_variable(environment, b"CLOISTER_NODE="),
        log=_link(base + "fd/2").removesuffix(_DELETED) if name.startswith("sshd") else "",
    )


def _proof(
    process: Process, cluster: Path, uids: Iterable[str], table: Mapping[int, Process]
) -> ClusterProcess | None:
    if _warden_of(process) == str(cluster):
        return ClusterProcess(
            process=process, node=_node_at(process.folder, cluster), part="warden"
        )
    if process.name.startswith("sshd"):
        node = _node_of_sshd(process, cluster)
        if node:
            return ClusterProcess(process=process, node=node, part="sshd")
    if process.mark and process.mark in uids:
        return ClusterProcess(process=process, node=process.marked_node, part="stray")
    node = _node_at(process.folder, cluster)
    if node and not process.has_terminal and _is_orphan(process, table):
        return ClusterProcess(process=process, node=node, part="stray")
    return None


def _with_descendants(
    found: dict[int, ClusterProcess], table: Mapping[int, Process]
) -> dict[int, ClusterProcess]:
    everything = dict(found)
    for pid, process in table.items():
        known = next((found[up] for up in ancestors(pid, table) if up in found), None)
        if known is None:
            continue
        own = found.get(pid)
        if own is None:
            everything[pid] = ClusterProcess(process=process, node=known.node, part="stray")
        elif not own.node:
            everything[pid] = dataclasses.replace(own, node=_nearest_node(pid, found, table))
    return everything


def _nearest_node(
    pid: int, found: Mapping[int, ClusterProcess], table: Mapping[int, Process]
) -> str:
    nodes = (found[up].node for up in ancestors(pid, table) if up in found)
    return next((node for node in nodes if node), "")


def _warden_of(process: Process) -> str:
    """The cluster's folder if the process is a warden."""
    command = process.command
    if len(command) >= 3 and Path(command[-3]).name == _WARDEN:
        return command[-2]
    return ""


def _node_of_sshd(process: Process, cluster: Path) -> str:
    nodes = f"{cluster}/nodes/"
    for text in (" ".join(process.command), process.log):
        _, found, rest = text.partition(nodes)
        if found:
            return rest.partition("/")[0]
    return ""


def _node_at(folder: str, cluster: Path) -> str:
    nodes = f"{cluster}/nodes/"
    return folder[len(nodes) :].partition("/")[0] if folder.startswith(nodes) else ""


def _is_orphan(process: Process, table: Mapping[int, Process]) -> bool:
    """Its parent ended: it was handed to init, or to the user's systemd."""
    parent = table.get(process.parent)
    return process.parent == 1 or parent is None or parent.name == "systemd"


def _variable(environment: bytes, prefix: bytes) -> str:
    if prefix not in environment:
        return ""
    values = (
        entry[len(prefix) :] for entry in environment.split(b"\0") if entry.startswith(prefix)
    )
    return next(values, b"").decode(errors="replace")


def _read(path: str) -> bytes:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return b"".join(iter(lambda: os.read(descriptor, 65536), b""))
        finally:
            os.close(descriptor)
    return b""


def _link(path: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(path)  # noqa: PTH115 - as above
    return ""
