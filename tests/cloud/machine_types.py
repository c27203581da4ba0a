"""What moto knows about instance types: processors, architectures, and where each is offered."""

from __future__ import annotations

import functools
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES

from cloud.refusals import invalid_value


def machine_type(name: str) -> dict[str, Any]:
    """Refused as RunInstances does it, if there is none of this name."""
    if name not in INSTANCE_TYPES:
        raise invalid_value(f"Invalid value '{name}' for InstanceType.")
    found: dict[str, Any] = INSTANCE_TYPES[name]
    return found


def architectures(name: str) -> list[str]:
    return list(machine_type(name)["ProcessorInfo"]["SupportedArchitectures"])


def vcpus(name: str) -> int:
    return int(machine_type(name)["VCpuInfo"]["DefaultVCpus"])


def placement_strategies(name: str) -> list[str]:
    return list(machine_type(name).get("PlacementGroupInfo", {}).get("SupportedStrategies", []))


@functools.cache
def offered(region: str, name: str) -> frozenset[str]:
    """The zones of the region that have this type."""
    offers = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, [])
    return frozenset(one["Location"] for one in offers if one["InstanceType"] == name)
