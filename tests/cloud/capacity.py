"""Where there is room for how many instances, and what AWS says when there is not."""

from __future__ import annotations

import fnmatch

from cloud.machine_types import offered, vcpus
from cloud.network import Zone
from cloud.placement import room as room_in_group
from cloud.refusals import Refusal
from cloud.resources import PlacementGroup, Region
from cloud.world import World

UNLIMITED = 1_000_000


def chosen_zone(
    world: World,
    region: Region,
    *,
    zone: Zone | None,
    machine_type: str,
    market: str,
    group: PlacementGroup | None,
    counts: tuple[int, int],
) -> tuple[Zone, int]:
    """The zone and the number of instances of a launch of at least and at most `counts`."""
    minimum, maximum = counts
    candidates = _offering(world, region, zone, machine_type)
    rooms = {
        one.name: min(maximum, _room(world, region, one.name, machine_type, market, group))
        for one in candidates
    }
    best = max(candidates, key=lambda one: rooms[one.name])
    if rooms[best.name] < minimum:
        others = [
            one.name
            for one in _offering(world, region, None, machine_type)
            if zone is not None
            and one.name != zone.name
            and _room(world, region, one.name, machine_type, market, None) >= minimum
        ]
        raise _insufficient(machine_type, market, zone, others)
    return best, rooms[best.name]


def check_vcpus(world: World, region: Region, machine_type: str, market: str, count: int) -> None:
    """VcpuLimitExceeded when on-demand instances of the region would have more than the limit."""
    limit = world.settings.vcpu_limit
    if limit is None or market == "spot":
        return
    used = sum(
        vcpus(one.type)
        for one in region.instances.values()
        if one.uses_capacity and one.market != "spot"
    )
    if used + count * vcpus(machine_type) > limit:
        raise Refusal(
            "VcpuLimitExceeded",
            f"You have requested more vCPU capacity than your current vCPU limit of {limit} allows "
            "for the instance bucket that the specified instance type belongs to. Please visit "
            "http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.",
        )


def _offering(world: World, region: Region, zone: Zone | None, machine_type: str) -> list[Zone]:
    having = offered(region.name, machine_type)
    zones = [one for one in world.network.zones(region.name) if one.name in having]
    names = ", ".join(one.name for one in zones)
    if zone is not None and zone.name not in having:
        raise Refusal(
            "Unsupported",
            f"Your requested instance type ({machine_type}) is not supported in your requested "
            f"Availability Zone ({zone.name}). Please retry your request by not specifying an "
            f"Availability Zone or choosing {names}.",
        )
    if not zones:
        raise Refusal(
            "Unsupported",
            "The requested configuration is currently not supported. Please check the "
            "documentation for supported configurations.",
        )
    return [zone] if zone is not None else zones


def _room(
    world: World,
    region: Region,
    zone: str,
    machine_type: str,
    market: str,
    group: PlacementGroup | None,
) -> int:
    wanted = f"{zone}/{machine_type}/{market}"
    there = [
        f"{one.zone}/{one.type}/{one.market}" for one in world.instances() if one.uses_capacity
    ]
    rooms = [
        limit - sum(fnmatch.fnmatchcase(kind, pattern) for kind in there)
        for pattern, limit in world.settings.capacity.items()
        if fnmatch.fnmatchcase(wanted, pattern)
    ]
    if group is not None and (spread := room_in_group(region, group, zone)) is not None:
        rooms.append(spread)
    return max(0, min(rooms, default=UNLIMITED))


def _insufficient(machine_type: str, market: str, zone: Zone | None, others: list[str]) -> Refusal:
    # It travels as a fault of the server, so clients with ordinary retries repeat it in vain.
    if market == "spot":
        text = "There is no Spot capacity available that matches your request."
    elif zone is None:
        text = (
            f"We currently do not have sufficient {machine_type} capacity in zones with support for "
            "'gp3' volumes. Our system will be working on provisioning additional capacity."
        )
    else:
        text = (
            f"We currently do not have sufficient {machine_type} capacity in the Availability Zone "
            f"you requested ({zone.name}). Our system will be working on provisioning additional "
            f"capacity. You can currently get {machine_type} capacity by not specifying an "
            f"Availability Zone in your request"
            + (f" or choosing {', '.join(others)}." if others else ".")
        )
    return Refusal("InsufficientInstanceCapacity", text, status=500)
