"""A cluster that exists, with the nodes that can be used."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path

from cloister.errors import UsageError
from cloister.plan.observed import Node, ObservedNode


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


def _unknown(what: str, name: str, known: Iterable[str], cluster: str) -> UsageError:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names) or 'none'}"
    return UsageError(f"cluster {cluster} has no {what} {name!r}", hint=hint)
