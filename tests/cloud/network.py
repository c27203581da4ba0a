"""The default VPC of each region, its subnets and zones: moto's, with a range of addresses per region."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import AmiBackend
from moto.ec2.models.vpcs import VPC, VPCBackend

from cloud.clock import Moment
from cloud.images import OWN
from cloud.refusals import Refusal, invalid_value
from cloud.resources import Group, Rule, new_id


@dataclasses.dataclass(frozen=True, kw_only=True)
class Zone:
    name: str
    id: str
    subnet: str


class Network:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._zones: dict[str, tuple[Zone, ...]] = {}
        VPCBackend.create_default_vpc = _create_default_vpc  # type: ignore[assignment,method-assign]
        # moto's own images are not ours, and making them takes longer than all else in a region.
        AmiBackend._load_amis = lambda _: None  # type: ignore[assignment,method-assign]

    def vpc(self, region: str) -> str:
        return str(self._backend(region).default_vpc.id)

    def zones(self, region: str) -> tuple[Zone, ...]:
        if region not in self._zones:
            backend = self._backend(region)
            subnets = backend.get_default_subnets()
            self._zones[region] = tuple(
                Zone(name=zone.name, id=zone.zone_id, subnet=subnets[zone.name].id)
                for zone in backend.describe_availability_zones()
            )
        return self._zones[region]

    def zone(self, region: str, name: str) -> Zone:
        for zone in self.zones(region):
            if name in (zone.name, zone.id):
                return zone
        raise invalid_value(f"Invalid availability zone: [{name}]")

    def zone_of_subnet(self, region: str, subnet: str) -> Zone:
        for zone in self.zones(region):
            if zone.subnet == subnet:
                return zone
        raise Refusal("InvalidSubnetID.NotFound", f"The subnet ID '{subnet}' does not exist")

    def _backend(self, region: str) -> Any:
        with self._lock:
            return ec2_backends[OWN][region]


def default_group(vpc: str, now: Moment) -> Group:
    group = Group(
        id=new_id("sg"),
        tags={},
        created=dataclasses.replace(now, real_s=0.0),
        name="default",
        description="default VPC security group",
        vpc=vpc,
        rules=[],
    )
    group.rules = [everywhere(group.id, now), _among_themselves(group.id, now)]
    return group


def everywhere(group_id: str, now: Moment) -> Rule:
    """The rule that every new group has: out to anywhere."""
    return _any_protocol(group_id, now, egress=True, cidr="0.0.0.0/0", group="")


def _among_themselves(group_id: str, now: Moment) -> Rule:
    return _any_protocol(group_id, now, egress=False, cidr="", group=group_id)


def _any_protocol(group_id: str, now: Moment, *, egress: bool, cidr: str, group: str) -> Rule:
    return Rule(
        id=new_id("sgr"),
        tags={},
        created=now,
        group_id=group_id,
        egress=egress,
        protocol="-1",
        from_port=-1,
        to_port=-1,
        cidr=cidr,
        group=group,
        description="",
    )


def _create_default_vpc(backend: Any) -> VPC:
    """moto's has 172.31.0.0/16 in every region, so that no two regions could be connected."""
    names = sorted(region.name for region in backend.describe_regions())
    number = names.index(backend.region_name) if backend.region_name in names else len(names)
    vpc: VPC = backend.create_vpc(cidr_block=f"10.{100 + number}.0.0/16", is_default=True)
    for zone in backend.describe_availability_zones():
        backend.create_default_subnet(zone.name)
    return vpc
