"""What can exist in a region. Whatever is created has an id, tags and the moment of its creation."""

from __future__ import annotations

import dataclasses
import secrets
from typing import Any, Protocol

from cloud.clock import Moment

Tags = dict[str, str]


class Resource(Protocol):
    id: str
    tags: Tags
    created: Moment


def new_id(prefix: str) -> str:
    return f"{prefix}-0{secrets.token_hex(8)}"


@dataclasses.dataclass(kw_only=True, eq=False)
class Instance:
    id: str
    tags: Tags
    created: Moment
    # Counted over all regions from 1, in the order of the launches.
    number: int
    region: str
    reservation: str
    launch_index: int
    token: str
    image: str
    type: str
    architecture: str
    zone: str
    subnet: str
    vpc: str
    market: str
    key_name: str
    groups: tuple[str, ...]
    placement: dict[str, Any]
    placement_group: str
    metadata: dict[str, Any]
    at_shutdown: str
    protected: bool
    address: str
    public: bool
    interface: str
    interface_tags: Tags
    spot_request: str
    user_data: str
    # Parameters that are only kept and shown again.
    kept: dict[str, Any]
    root_device: str
    # Device → volume; filled by the launch.
    volumes: dict[str, str]
    # (real time, state) since the launch.
    history: list[tuple[float, str]]
    reason: tuple[str, str] | None = None
    transition: str = ""
    # Simulated times.
    terminated_s: float | None = None
    lease_end_s: float | None = None
    # When its SSH port was let open, by the wall clock.
    opened_s: float | None = None

    @property
    def state(self) -> str:
        return self.history[-1][1]

    @property
    def alive(self) -> bool:
        return self.state != "terminated"

    @property
    def uses_capacity(self) -> bool:
        return self.state in ("pending", "running")


@dataclasses.dataclass(kw_only=True, eq=False)
class Volume:
    id: str
    tags: Tags
    created: Moment
    zone: str
    size_gb: int
    type: str
    snapshot: str
    iops: int | None
    throughput: int | None
    instance: str = ""
    device: str = ""
    with_instance: bool = False


@dataclasses.dataclass(kw_only=True, eq=False)
class Rule:
    """Exactly one of `cidr` and `group` is set. Ports are -1 where the protocol has none."""

    id: str
    tags: Tags
    created: Moment
    group_id: str
    egress: bool
    protocol: str
    from_port: int
    to_port: int
    cidr: str
    group: str
    description: str

    @property
    def identity(self) -> tuple[object, ...]:
        return (self.egress, self.protocol, self.from_port, self.to_port, self.cidr, self.group)


@dataclasses.dataclass(kw_only=True, eq=False)
class Group:
    id: str
    tags: Tags
    created: Moment
    name: str
    description: str
    vpc: str
    rules: list[Rule]


@dataclasses.dataclass(kw_only=True, eq=False)
class Key:
    id: str
    tags: Tags
    created: Moment
    name: str
    type: str
    material: str
    fingerprint: str


@dataclasses.dataclass(kw_only=True, eq=False)
class PlacementGroup:
    id: str
    tags: Tags
    created: Moment
    name: str
    strategy: str
    partitions: int


@dataclasses.dataclass(kw_only=True, eq=False)
class Image:
    id: str
    tags: Tags
    created: Moment
    name: str
    description: str
    owner: str
    # As the API shows it; a test may have chosen it.
    created_text: str
    state: str
    architecture: str
    root_device: str
    # Our own images have one, made with them.
    snapshot: str
    source: str
    given: bool
    failure: str = ""


@dataclasses.dataclass(kw_only=True, eq=False)
class Snapshot:
    id: str
    tags: Tags
    created: Moment
    volume: str
    size_gb: int
    description: str
    state: str


@dataclasses.dataclass(kw_only=True, eq=False)
class Address:
    id: str
    tags: Tags
    created: Moment
    public: str


@dataclasses.dataclass(kw_only=True, eq=False)
class SpotRequest:
    id: str
    tags: Tags
    created: Moment
    instance: str
    type: str
    zone: str
    state: str
    code: str


@dataclasses.dataclass(kw_only=True, eq=False)
class Region:
    """By id each; what was deleted is not there any more, but for instances and spot requests."""

    name: str
    instances: dict[str, Instance] = dataclasses.field(default_factory=dict)
    volumes: dict[str, Volume] = dataclasses.field(default_factory=dict)
    groups: dict[str, Group] = dataclasses.field(default_factory=dict)
    keys: dict[str, Key] = dataclasses.field(default_factory=dict)
    placement_groups: dict[str, PlacementGroup] = dataclasses.field(default_factory=dict)
    images: dict[str, Image] = dataclasses.field(default_factory=dict)
    snapshots: dict[str, Snapshot] = dataclasses.field(default_factory=dict)
    addresses: dict[str, Address] = dataclasses.field(default_factory=dict)
    spot_requests: dict[str, SpotRequest] = dataclasses.field(default_factory=dict)
    # (zone asked for or "", client token) → what was asked and answered.
    launches: dict[tuple[str, str], Launch] = dataclasses.field(default_factory=dict)
    # Client token → what was asked and answered.
    creations: dict[str, Creation] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launch:
    asked: dict[str, Any]
    answer: dict[str, Any]
    instances: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Creation:
    asked: dict[str, Any]
    answer: dict[str, Any]
