"""What carries our tags right now: the nodes of one cluster as their provider sees them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

State = Literal["running", "starting", "dead"]
# A node's label: when it ends by itself, in Unix seconds.
EXPIRES = "expires"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """One machine of a cluster, with all that is needed to reach it.

    `address` is where this machine reaches it, `private_address` where the other nodes do.
    `user`, `port` and `key` are None where ~/.ssh/config decides.
    `host_key` is a public key line ("ssh-ed25519 AAAA…"), empty until it is pinned.
    `port_space` is equal for nodes that cannot both listen on the same port of all addresses
    (local nodes share this machine's network).
    `number` counts from 1 within `roles[0]`; the name is role + number, except for manual nodes.
    """

    name: str
    roles: tuple[str, ...]
    number: int
    address: str
    private_address: str
    user: str | None = None
    port: int | None = None
    key: str | None = None
    gateway: str | None = None
    host_key: str = ""
    connect_timeout_s: float = 10.0
    region: str = ""
    labels: Mapping[str, object] = dataclasses.field(default_factory=dict)
    port_space: str = ""
    work_folder: str = "cloister"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObservedNode:
    """`detail` says why a node is dead, for a person."""

    node: Node
    state: State
    detail: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bill:
    """What a cluster costs. Times in Unix seconds; dollars are None where a price is not known.

    since: when its oldest node was launched.  expires: when the first of its living nodes ends by itself.
    """

    since: float
    expires: float
    dollars_per_hour: float | None
    dollars: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observed:
    """`uid` is the cluster's unique id, empty when nothing of it exists; nodes in launch order.

    expires: the end of its lease in Unix seconds, where it has one; a node's own end is its label
    EXPIRES, and differs after a lease was prolonged and the node was not told yet.
    region: where nodes go for which none is configured; empty where there are no regions.
    """

    name: str
    provider: str
    uid: str = ""
    expires: int | None = None
    nodes: tuple[ObservedNode, ...] = ()
    # Things of the cluster that are neither a node nor part of one: stray processes, folders.
    leftovers: tuple[str, ...] = ()
    region: str = ""

    @property
    def exists(self) -> bool:
        return bool(self.uid or self.nodes or self.leftovers)
