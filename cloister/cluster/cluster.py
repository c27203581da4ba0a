"""A cluster that exists, with the nodes that can be used."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cloister.errors import UsageError
from cloister.plan.observed import Node, ObservedNode

# Of the node that people log in to and from which a benchmark is driven: the first of these that there is.
_FRONT_ROLES = ("master", "driver", "manager")
_WORKER_ROLES = ("workers", "worker")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """`folder` holds the cluster's files on this machine; `dead` are nodes that cannot be used.

    expires: the end of its lease in Unix seconds, where it has one.  dollars_per_hour: of all nodes together,
    where that was asked for and is known.
    """

    name: str
    uid: str
    provider: str
    folder: Path
    nodes: tuple[Node, ...]
    dead: tuple[ObservedNode, ...] = ()
    expires: int | None = None
    dollars_per_hour: float | None = None

    @property
    def marks(self) -> Mapping[str, str]:
        """The environment of everything that is started on its nodes."""
        return {"CLOISTER_CLUSTER": self.uid}

    @property
    def roles(self) -> tuple[str, ...]:
        """In the order in which the nodes name them."""
        return tuple(dict.fromkeys(role for node in self.nodes for role in node.roles))

    @property
    def front(self) -> Node:
        """The master, driver or manager, or else the first node."""
        for role in _FRONT_ROLES:
            for node in self.nodes:
                if role in node.roles:
                    return node
        return self.nodes[0]

    @property
    def workers(self) -> tuple[Node, ...]:
        return workers_of(self.nodes)

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`, and for users to Include."""
        return self.folder / "ssh_config"

    def of_role(self, role: str) -> tuple[Node, ...]:
        """UsageError for a role that no node has."""
        if role not in self.roles:
            raise _unknown("role", role, self.roles, self.name)
        return tuple(node for node in self.nodes if role in node.roles)

    def select(self, names: Iterable[str]) -> tuple[Node, ...]:
        """The nodes with these names or roles, each once, in launch order."""
        wanted = list(names)
        known = {*self.roles, *(node.name for node in self.nodes)}
        for name in wanted:
            if name not in known:
                raise self._cannot_select(name, known)
        chosen = set(wanted)
        return tuple(
            node for node in self.nodes if node.name in chosen or chosen.intersection(node.roles)
        )

    def _cannot_select(self, name: str, known: Iterable[str]) -> UsageError:
        for entry in self.dead:
            if entry.node.name == name:
                return UsageError(
                    f"node {name} of cluster {self.name} is dead: {entry.detail}",
                    hint="`cloister launch` replaces dead nodes",
                )
        return _unknown("node or role", name, sorted(known), self.name)


def workers_of(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes of the role workers (or worker); every node where there is none."""
    for role in _WORKER_ROLES:
        if chosen := tuple(node for node in nodes if role in node.roles):
            return chosen
    return tuple(nodes)


def _unknown(what: str, name: str, known: Iterable[str], cluster: str) -> UsageError:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names) or 'none'}"
    return UsageError(f"cluster {cluster} has no {what} {name!r}", hint=hint)
