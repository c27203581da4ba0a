"""Which networks may reach which ports of a cluster's nodes."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """`ports` and `source` as a person says them: "tcp 22", "everything"; a network, or a group of nodes."""

    ports: str
    source: str

    def __str__(self) -> str:
        return f"{self.ports} from {self.source}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Access:
    """The rules of one security group, and what was added to them and revoked just now."""

    region: str
    group: str
    rules: tuple[Rule, ...]
    added: tuple[Rule, ...] = ()
    revoked: tuple[Rule, ...] = ()
