"""From nodes to as few launch calls as will do; pure."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cloister.config.ec2_spec import MachineSpec
from cloister.config.spec import ClusterSpec
from cloister.plan.observed import Node
from cloister.providers.ec2 import tags
from cloister.providers.ec2.image.images import Image
from cloister.providers.ec2.launch.userdata import lease_script
from cloister.providers.ec2.tags import Identity

# In each region AWS takes five launch calls at once and then two a second; it advises five of 100 instead
# of one of 500.
CALLS_AT_ONCE = 5
BATCH_MIN, BATCH_MAX = 20, 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rung:
    """One place of the ladder that a batch climbs while there is no capacity."""

    market: str
    machine: str
    zone: str

    def __str__(self) -> str:
        return f"{self.machine} ({self.market}) in {self.zone}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """Nodes of one role and region with consecutive numbers: `first`, `first` + 1, …"""

    region: str
    roles: tuple[str, ...]
    first: int
    count: int

    @property
    def role(self) -> str:
        return self.roles[0]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.role}{self.first + index}" for index in range(self.count))

    def rest(self, launched: int) -> Batch | None:
        """What is missing when only so many could be had."""
        if launched >= self.count:
            return None
        return dataclasses.replace(self, first=self.first + launched, count=self.count - launched)

    def __str__(self) -> str:
        last = self.first + self.count - 1
        numbers = str(self.first) if self.count == 1 else f"[{self.first}-{last}]"
        return f"{self.role}{numbers}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    """What a region has for this cluster before its first instance."""

    region: str
    vpc: str
    groups: tuple[str, ...]
    key_pair: str
    zones: tuple[str, ...]
    subnets: Mapping[str, str]
    offered: Mapping[str, frozenset[str]]
    images: Mapping[tuple[str, str], Image]
    placement_groups: Mapping[str, str]


def machine_of(cluster: ClusterSpec, role: str) -> MachineSpec:
    """The role's own values over the cluster's."""
    own = cluster.roles[role]
    fields = MachineSpec.model_fields
    return MachineSpec(
        **{
            name: getattr(own, name)
            if getattr(own, name) is not None
            else getattr(cluster.ec2, name)
            for name in fields
        }
    )


def batches(nodes: Sequence[Node]) -> list[Batch]:
    """The nodes, which have their regions, in launch calls of consecutive numbers."""
    regions = itertools.groupby(_runs(nodes), key=lambda run: run[0].region)
    return [batch for _, runs in regions for batch in _batches(list(runs))]


def _batches(runs: Sequence[Sequence[Node]]) -> list[Batch]:
    """Of one region."""
    size = _size([len(run) for run in runs])
    return [
        Batch(region=part[0].region, roles=part[0].roles, first=part[0].number, count=len(part))
        for run in runs
        for part in (run[at : at + size] for at in range(0, len(run), size))
    ]


def _size(counts: Sequence[int]) -> int:
    """The smallest with which all are launched at once; else the one with the fewest calls."""
    smallest = max(BATCH_MIN, math.ceil(sum(counts) / CALLS_AT_ONCE))
    for size in range(smallest, BATCH_MAX):
        if sum(math.ceil(count / size) for count in counts) <= CALLS_AT_ONCE:
            return size
    return BATCH_MAX


def _runs(nodes: Sequence[Node]) -> Iterator[list[Node]]:
    ordered = sorted(nodes, key=lambda node: (node.region, node.roles, node.number))
    run: list[Node] = []
    for node in ordered:
        if run and not _follows(run[-1], node):
            yield run
            run = []
        run.append(node)
    if run:
        yield run


def _follows(before: Node, node: Node) -> bool:
    return (before.region, before.roles, before.number + 1) == (
        node.region,
        node.roles,
        node.number,
    )


def ladder(machine: MachineSpec, site: Site) -> list[Rung]:
    """Zone by zone, then the next machine type, then the next market; only what the zones offer."""
    zones = machine.zones or site.zones
    return [
        Rung(market=market, machine=kind, zone=zone)
        for market in machine.markets or ("on-demand",)
        for kind in machine.machines
        for zone in zones
        if zone in site.subnets and zone in site.offered.get(kind, frozenset())
    ]


def request(
    batch: Batch,
    rung: Rung,
    *,
    cluster: ClusterSpec,
    site: Site,
    identity: Identity,
    user: str,
    attempt: int,
) -> dict[str, Any]:
    """The parameters of RunInstances: the same bytes whenever the same is asked, token included."""
    machine = machine_of(cluster, batch.role)
    image = site.images[batch.role, rung.machine]
    marks = identity.tags() | {
        tags.ROLES: ",".join(batch.roles),
        tags.FIRST: str(batch.first),
        tags.USER: user,
        "Name": f"{identity.name}-{batch.role}",
    }
    if cluster.ssh.port is not None:
        marks[tags.PORT] = str(cluster.ssh.port)
    disk: dict[str, Any] = {"VolumeType": "gp3", "DeleteOnTermination": True}
    if machine.disk is not None:
        disk["VolumeSize"] = machine.disk
    placement: dict[str, Any] = {"AvailabilityZone": rung.zone}
    if batch.role in site.placement_groups:
        placement["GroupName"] = site.placement_groups[batch.role]
    made: dict[str, Any] = {
        "ImageId": image.id,
        "InstanceType": rung.machine,
        # Of nodes in a placement group half would be no use; of others, each is one fewer to find.
        "MinCount": batch.count if machine.placement else 1,
        "MaxCount": batch.count,
        "KeyName": site.key_pair,
        "Placement": placement,
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": site.subnets[rung.zone],
                "Groups": list(site.groups),
                "AssociatePublicIpAddress": True,
                "DeleteOnTermination": True,
            }
        ],
        "BlockDeviceMappings": [{"DeviceName": image.root_device, "Ebs": disk}],
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "UserData": lease_script(identity.expires),
        "TagSpecifications": tags.specification(
            ["instance", "volume", "network-interface", *_spot_kind(rung)], marks
        ),
    }
    if rung.market == "spot":
        made["InstanceMarketOptions"] = {
            "MarketType": "spot",
            "SpotOptions": {
                "SpotInstanceType": "one-time",
                "InstanceInterruptionBehavior": "terminate",
            },
        }
    if cluster.ec2.instance_profile:
        made["IamInstanceProfile"] = {"Name": cluster.ec2.instance_profile}
    return made | {"ClientToken": _token(identity, site.region, made, attempt)}


def _spot_kind(rung: Rung) -> list[str]:
    return ["spot-instances-request"] if rung.market == "spot" else []


def _token(identity: Identity, region: str, made: Mapping[str, Any], attempt: int) -> str:
    """64 hexadecimal digits, as many as AWS takes."""
    text = json.dumps([identity.uid, region, attempt, made], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
