"""What a region has for a cluster: network, zones, machine types, images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cloister.config.spec import ClusterSpec
from cloister.errors import ProviderError
from cloister.plan.observed import Node
from cloister.providers.ec2.api import Aws, AwsError
from cloister.providers.ec2.image.images import Image, resolved
from cloister.providers.ec2.launch.batches import machine_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ground:
    """A region before anything of the cluster is in it."""

    region: str
    vpc: str
    zones: tuple[str, ...]
    subnets: Mapping[str, str]
    offered: Mapping[str, frozenset[str]]
    images: Mapping[tuple[str, str], Image]


def ground(aws: Aws, cluster: ClusterSpec, region: str, roles: Sequence[str]) -> Ground:
    """For these roles in this region; ProviderError for what cannot be, before anything is made."""
    machines = sorted({kind for role in roles for kind in machine_of(cluster, role).machines})
    # Each call is a way to AWS and back.
    with ThreadPoolExecutor(2) as pool:
        offering = pool.submit(_offered, aws, region, machines)
        choosing = pool.submit(_images, aws, cluster, region, roles, machines)
        vpc = _vpc(aws, cluster, region)
        subnets = _subnets(aws, cluster, region, vpc)
    return Ground(
        region=region,
        vpc=vpc,
        zones=tuple(sorted(subnets)),
        subnets=subnets,
        offered=offering.result(),
        images=choosing.result(),
    )


def roles_by_region(nodes: Sequence[Node]) -> dict[str, list[str]]:
    """Region → the roles that have nodes there, in the nodes' order."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        roles = found.setdefault(node.region, [])
        if node.roles[0] not in roles:
            roles.append(node.roles[0])
    return found


def _vpc(aws: Aws, cluster: ClusterSpec, region: str) -> str:
    if cluster.ec2.vpc:
        return cluster.ec2.vpc
    filters = [{"Name": "is-default", "Values": ["true"]}]
    for vpc in aws.pages(region, "describe_vpcs", "Vpcs", Filters=filters):
        return str(vpc["VpcId"])
    raise ProviderError(
        f"{region} has no default VPC",
        hint="give cluster.ec2.vpc, or make one with `aws ec2 create-default-vpc`",
    )


def _subnets(aws: Aws, cluster: ClusterSpec, region: str, vpc: str) -> dict[str, str]:
    """Zone → subnet: the configured ones, else the VPC's default ones, else all of it."""
    filters = [{"Name": "vpc-id", "Values": [vpc]}]
    found = list(aws.pages(region, "describe_subnets", "Subnets", Filters=filters))
    chosen = [
        entry
        for entry in found
        if (
            entry["SubnetId"] in cluster.ec2.subnets
            if cluster.ec2.subnets
            else entry.get("DefaultForAz") or cluster.ec2.vpc
        )
    ]
    if not chosen:
        raise ProviderError(
            f"VPC {vpc} in {region} has none of the subnets {', '.join(cluster.ec2.subnets) or '(default ones)'}",
            hint=f"it has: {', '.join(entry['SubnetId'] for entry in found) or 'none'}",
        )
    return {
        entry["AvailabilityZone"]: entry["SubnetId"]
        for entry in sorted(chosen, key=lambda entry: str(entry["SubnetId"]), reverse=True)
    }


def _architectures(aws: Aws, region: str, machines: Sequence[str]) -> dict[str, str]:
    """Machine type → x86_64 or arm64."""
    try:
        found = {
            entry["InstanceType"]: _architecture(entry)
            for entry in aws.pages(
                region, "describe_instance_types", "InstanceTypes", InstanceTypes=list(machines)
            )
        }
    except AwsError as error:
        if error.code != "InvalidInstanceType":
            raise
        raise ProviderError(f"{region} has not all of {', '.join(machines)}: {error}") from None
    return found


def _architecture(entry: Mapping[str, Any]) -> str:
    known = entry["ProcessorInfo"]["SupportedArchitectures"]
    return next(name for name in ("x86_64", "arm64", *known) if name in known)


def _offered(aws: Aws, region: str, machines: Sequence[str]) -> dict[str, frozenset[str]]:
    """Machine type → the zones that have it."""
    zones: dict[str, set[str]] = {}
    for entry in aws.pages(
        region,
        "describe_instance_type_offerings",
        "InstanceTypeOfferings",
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": list(machines)}],
    ):
        zones.setdefault(entry["InstanceType"], set()).add(entry["Location"])
    return {machine: frozenset(names) for machine, names in zones.items()}


def _images(
    aws: Aws,
    cluster: ClusterSpec,
    region: str,
    roles: Sequence[str],
    machines: Sequence[str],
) -> dict[tuple[str, str], Image]:
    """(role, machine type) → image; each distinct one is asked for once."""
    architectures = _architectures(aws, region, machines)
    known: dict[tuple[str, str], Image] = {}
    found = {}
    for role in roles:
        machine = machine_of(cluster, role)
        assert machine.image is not None
        for kind in machine.machines:
            key = (machine.image.model_dump_json(), architectures[kind])
            if key not in known:
                known[key] = resolved(aws, region, machine.image, architectures[kind])
            found[role, kind] = known[key]
    return found
