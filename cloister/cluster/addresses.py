"""From the addresses in the files of `servers/` to nodes: of the clusters that exist, or as they are."""

from __future__ import annotations

import dataclasses
import getpass
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cloister.cluster.cluster import Cluster
from cloister.cluster.host_keys import key_known_to_user
from cloister.cluster.inventory import inventory
from cloister.cluster.lifecycle import cluster_names, open_cluster
from cloister.cluster.ssh_files import write_ssh_files
from cloister.errors import CloisterError, UsageError
from cloister.plan.observed import Node

# Neither is a cluster: no cluster can have this name, and its folder is not among the clusters'.
BY_ADDRESS = "by_address"
# The file of the node that has the role master is the first of these that there is.
_MASTER_FILES = ("master.txt", "driver.txt", "manager.txt")
_MANAGER_FILE = "manager.txt"
_WORKERS_FILE = "servers.txt"
_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:%-]*|::[A-Za-z0-9:.%]*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where the parts of a benchmark run; workers in the order of their list, `source` names that list."""

    manager: str
    master: str
    workers: tuple[str, ...]
    source: str

    @property
    def every(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.master, self.manager, *self.workers)))

    def first(self, count: int) -> Addresses:
        """With so many workers; UsageError if there are fewer."""
        if count > len(self.workers):
            there = f"{len(self.workers)} address{'es' if len(self.workers) != 1 else ''}"
            raise UsageError(
                f"{self.source} has {there}, -k asks for {count}",
                hint="launch more workers, name another list with -s, or ask for fewer",
            )
        return dataclasses.replace(self, workers=self.workers[:count])


def addresses(
    *,
    workers_file: Path | None,
    master_file: Path | None,
    folder: Path,
    cluster: Cluster | None = None,
) -> Addresses:
    """From the files given, else from the cluster's own lists, else from the files in `folder`."""
    own = inventory(cluster.nodes) if cluster else {}
    source = f"cluster {cluster.name}" if cluster else ""
    if workers_file is None and cluster is not None:
        workers, workers_source = (
            _parsed(own[_WORKERS_FILE], source),
            f"{source} (its {_WORKERS_FILE})",
        )
    else:
        path = workers_file or folder / _WORKERS_FILE
        workers, workers_source = _read(path), str(path)
    if master_file is None and cluster is not None:
        lists = {name: _parsed(text, source) for name, text in own.items()}
    else:
        lists = _lists_beside(master_file, folder)
    name = master_file.name if master_file else next((n for n in _MASTER_FILES if n in lists), "")
    if not name:
        raise UsageError(
            f"{source} has no node of the role master, driver or manager",
            hint="add one to its roles, or name a file with -m",
        )
    return Addresses(
        manager=lists.get(_MANAGER_FILE, lists[name])[0],
        master=lists[name][0],
        workers=workers,
        source=workers_source,
    )


def _lists_beside(master_file: Path | None, folder: Path) -> dict[str, tuple[str, ...]]:
    """The master's file and the manager's, which is the same node where it has none."""
    if master_file is None:
        there = [name for name in _MASTER_FILES if (folder / name).exists()]
        # Reading one that is not there says what to do.
        return {name: _read(folder / name) for name in there or _MASTER_FILES[:1]}
    lists = {master_file.name: _read(master_file)}
    beside = master_file.with_name(_MANAGER_FILE)
    if beside.exists():
        lists[_MANAGER_FILE] = _read(beside)
    return lists


def _read(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a text"
        raise UsageError(
            f"the list of servers {path} cannot be read: {why}",
            hint="`cloister launch` writes the lists to servers/; -s and -m name other files, "
            "-c a cluster's configuration",
        ) from None
    return _parsed(text, str(path))


def _parsed(text: str, source: str) -> tuple[str, ...]:
    """The first word of each line: in an MPI hosts file more follows."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if not _ADDRESS.fullmatch(words[0]):
            raise UsageError(f"{source}:{number}: {words[0]!r} is not an address or a name")
        if words[0] in found:
            raise UsageError(f"{source}:{number}: {words[0]} is in line {found[words[0]]} already")
        found[words[0]] = number
    if not found:
        raise UsageError(f"the list of servers {source} is empty")
    return tuple(found)


# --- nodes ---------------------------------------------------------------------------------------


def cluster_at(
    wanted: Sequence[str], *, state: Path, cluster: Cluster | None = None, key: Path | None = None
) -> tuple[Cluster, dict[str, Node]]:
    """The cluster that has these addresses, and each one's node.

    Addresses of no known cluster are reached as ~/.ssh/config says, with `key` if it is given, and
    only if the user's known_hosts has their host keys. Without any known one the cluster returned
    stands for the user's machines: its mark is the user's own.
    """
    known = [cluster] if cluster else list(_clusters(state))
    chosen = _the_one(known, wanted)
    nodes: dict[str, Node] = {}
    strangers: dict[str, Node] = {}
    for address in wanted:
        if chosen is not None and (node := _node_of(chosen, address)):
            nodes[address] = node if node.key or key is None else _with_key(node, key)
        else:
            nodes[address] = strangers[address] = stranger(address, key)
    unknown = [node for node in strangers.values() if not node.host_key]
    if unknown:
        raise _not_pinned(unknown)
    if chosen is not None and not strangers:
        return chosen, nodes
    return _by_address(chosen, state, tuple(nodes.values())), nodes


def _clusters(state: Path) -> Iterable[Cluster]:
    for name in cluster_names(state):
        try:
            yield open_cluster(name, state=state, allow_dead=True)
        except CloisterError:
            # Its record is there and no node is: it has no address either.
            continue


def _the_one(known: Sequence[Cluster], wanted: Sequence[str]) -> Cluster | None:
    """The cluster with the most of these addresses; UsageError if no single one explains them."""
    has = {c.name: [a for a in wanted if _node_of(c, a) or _dead_at(c, a)] for c in known}
    ranked = sorted(known, key=lambda c: -len(has[c.name]))
    if not ranked or not has[ranked[0].name]:
        return None
    best = ranked[0]
    for address in wanted:
        if address not in has[best.name] and (
            other := next((c for c in known if address in has[c.name]), None)
        ):
            raise UsageError(
                f"the addresses are of several clusters: {has[best.name][0]} is of {best.name}, "
                f"{address} of {other.name}",
                hint="name lists of one cluster with -s and -m, or its configuration with -c",
            )
    rivals = [c.name for c in ranked[1:] if len(has[c.name]) == len(has[best.name])]
    if rivals:
        raise UsageError(
            f"the clusters {', '.join([best.name, *rivals])} all have these addresses",
            hint="name the configuration of one of them with -c",
        )
    for address in wanted:
        if why := _dead_at(best, address):
            raise CloisterError(
                f"{address} of cluster {best.name} cannot be used: {why}",
                hint="`cloister launch` replaces dead nodes",
            )
    return best


def _node_of(cluster: Cluster, address: str) -> Node | None:
    return next(
        (
            node
            for node in cluster.nodes
            if address in (node.address, node.private_address, node.name)
        ),
        None,
    )


def _dead_at(cluster: Cluster, address: str) -> str:
    for entry in cluster.dead:
        if address in (entry.node.address, entry.node.private_address, entry.node.name):
            return f"node {entry.node.name} is dead, {entry.detail or 'it does not run'}"
    return ""


def stranger(address: str, key: Path | None) -> Node:
    """A machine of which only the address is known; its host key is empty if the user never met it."""
    node = Node(
        name=address,
        roles=(),
        number=0,
        address=address,
        private_address=address,
        key=str(key) if key else None,
    )
    return dataclasses.replace(node, host_key=key_known_to_user(node))


def _with_key(node: Node, key: Path) -> Node:
    return dataclasses.replace(node, key=str(key))


def _not_pinned(nodes: Sequence[Node]) -> UsageError:
    names = [node.address for node in nodes]
    return UsageError(
        f"of no known cluster, and not in your known_hosts: {', '.join(names)}",
        hint=f"`ssh {names[0]}` once, and compare the fingerprint it shows; or, if these are nodes of a "
        "cluster, is CLOISTER_STATE the folder that it was launched with?",
    )


def _by_address(chosen: Cluster | None, state: Path, nodes: tuple[Node, ...]) -> Cluster:
    """With a folder of its own, since the files of a cluster that lacks some of these nodes are its own."""
    cluster = Cluster(
        name=chosen.name if chosen else BY_ADDRESS,
        uid=chosen.uid if chosen else f"{BY_ADDRESS}-{_user()}",
        provider="manual",
        folder=state / BY_ADDRESS,
        nodes=nodes,
    )
    try:
        cluster.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_ssh_files(cluster)
    except OSError as error:
        raise CloisterError(f"writing to {cluster.folder}: {error.strerror}") from error
    return cluster


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def as_they_are(found: Addresses) -> Mapping[str, Node]:
    """For programs on this machine: nothing is reached, so no key is needed."""
    return {
        address: Node(name=address, roles=(), number=0, address=address, private_address=address)
        for address in found.every
    }
