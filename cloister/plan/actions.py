"""What would change: a plan is frozen data, shown by `cloister plan` and applied by a provider."""

from __future__ import annotations

import dataclasses

from cloister.plan.observed import Node


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launch:
    """A new node; `node` has its name, roles and what the configuration fixes, the provider gives the rest."""

    node: Node
    reason: str

    @property
    def name(self) -> str:
        return self.node.name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remove:
    """All of the node goes: its processes, its files."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Keep:
    """A node that stays; `node` is as it should be described from now on (its roles may be new)."""

    node: Node

    @property
    def name(self) -> str:
        return self.node.name


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoveRest:
    """The cluster itself goes: what belongs to it and to none of its nodes, and its record."""

    leftovers: tuple[str, ...]


Action = Launch | Remove | Keep | RemoveRest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Removals are applied before launches; `actions` are in the order of the nodes."""

    cluster: str
    provider: str
    actions: tuple[Action, ...]

    @property
    def launches(self) -> tuple[Launch, ...]:
        return tuple(action for action in self.actions if isinstance(action, Launch))

    @property
    def removals(self) -> tuple[Remove, ...]:
        return tuple(action for action in self.actions if isinstance(action, Remove))

    @property
    def kept(self) -> tuple[Keep, ...]:
        return tuple(action for action in self.actions if isinstance(action, Keep))

    @property
    def removes_cluster(self) -> bool:
        return any(isinstance(action, RemoveRest) for action in self.actions)

    @property
    def changes_nothing(self) -> bool:
        return all(isinstance(action, Keep) for action in self.actions)

    def describe(self) -> str:
        """For a person: what would change, and in one line what would not."""
        lines = [line for action in self.actions if (line := _line(action))]
        kept = len(self.kept)
        if kept:
            lines.append(f"  = keep {kept} node{'' if kept == 1 else 's'} as {_are(kept)}")
        return "\n".join([f"{self.cluster} ({self.provider}):", *(lines or ["  nothing to do"])])


def _line(action: Action) -> str:
    match action:
        case Launch(node=node, reason=reason):
            roles = ", ".join(node.roles)
            where = f" at {node.address}" if node.address else ""
            return f"  + launch {node.name} ({roles}){where}: {reason}"
        case Remove(name=name, reason=reason):
            return f"  - remove {name}: {reason}"
        case RemoveRest(leftovers=leftovers):
            return "\n".join(
                ["  - remove the cluster's record", *(f"  - remove {x}" for x in leftovers)]
            )
        case Keep():
            return ""


def _are(count: int) -> str:
    return "it is" if count == 1 else "they are"
