"""Placement groups."""

from __future__ import annotations

from typing import Any

from cloud.filters import filtered
from cloud.machine_types import placement_strategies
from cloud.refusals import Refusal, invalid_value, missing
from cloud.resources import PlacementGroup, Region, new_id
from cloud.tags import listed, specified
from cloud.world import ACCOUNT, World

STRATEGIES = ("cluster", "spread", "partition")
PARTITIONS = 2
SPREAD_PER_ZONE = 7


def create_placement_group(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    name, strategy = asked.get("GroupName"), asked.get("Strategy", "cluster")
    if not name:
        raise missing("GroupName")
    if strategy not in STRATEGIES:
        raise invalid_value(f"Invalid value '{strategy}' for placement strategy.")
    if any(group.name == name for group in region.placement_groups.values()):
        raise Refusal(
            "InvalidPlacementGroup.Duplicate", f"The Placement Group '{name}' already exists."
        )
    group = PlacementGroup(
        id=new_id("pg"),
        tags=specified(asked, "placement-group")["placement-group"],
        created=world.clock.now(),
        name=name,
        strategy=strategy,
        partitions=asked.get("PartitionCount", PARTITIONS) if strategy == "partition" else 0,
    )
    region.placement_groups[group.id] = group
    return {"PlacementGroup": _shown(region, group)}


def describe_placement_groups(
    world: World, region: Region, asked: dict[str, Any]
) -> dict[str, Any]:
    groups = world.listed(region.placement_groups)
    if names := asked.get("GroupNames"):
        groups = [named(world, region, name) for name in names]
    if ids := asked.get("GroupIds"):
        groups = [world.find(region.placement_groups, one, _unknown) for one in ids]
    attributes = {
        "group-name": lambda group: group.name,
        "state": lambda _: "available",
        "strategy": lambda group: group.strategy,
        "group-arn": lambda group: _arn(region, group),
    }
    found = filtered(groups, asked.get("Filters", []), attributes, lambda group: group.tags)
    return {"PlacementGroups": [_shown(region, group) for group in found]}


def delete_placement_group(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    group = named(world, region, asked.get("GroupName", ""))
    if any(one.alive and one.placement_group == group.id for one in region.instances.values()):
        raise Refusal(
            "InvalidPlacementGroup.InUse",
            f"The placement group '{group.name}' is in use and may not be deleted.",
        )
    world.remove(region.placement_groups, group.id)
    return {}


def named(world: World, region: Region, name: str) -> PlacementGroup:
    for group in world.seen(region.placement_groups):
        if group.name == name:
            return group
    raise _unknown(name)


def asked_group(
    world: World, region: Region, placement: dict[str, Any], machine_type: str
) -> PlacementGroup | None:
    """The group of a launch, checked against the instance type."""
    if group_id := placement.get("GroupId"):
        group = world.find(region.placement_groups, group_id, _unknown)
    elif name := placement.get("GroupName"):
        group = named(world, region, name)
    else:
        return None
    if group.strategy not in placement_strategies(machine_type):
        raise Refusal(
            "InvalidParameterCombination",
            f"{group.strategy.capitalize()} placement groups are not supported by the "
            f"'{machine_type}' instance type. Specify a supported instance type or change the "
            "placement group strategy, and try again.",
        )
    return group


def room(region: Region, group: PlacementGroup, zone: str) -> int | None:
    """How many more instances a spread group takes in the zone; None: any number."""
    if group.strategy != "spread":
        return None
    there = [
        one
        for one in region.instances.values()
        if one.uses_capacity and one.placement_group == group.id and one.zone == zone
    ]
    return SPREAD_PER_ZONE - len(there)


def _unknown(name: str) -> Refusal:
    return Refusal("InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown.")


def _shown(region: Region, group: PlacementGroup) -> dict[str, Any]:
    partitions = {"PartitionCount": group.partitions} if group.strategy == "partition" else {}
    return {
        "GroupName": group.name,
        "GroupId": group.id,
        "GroupArn": _arn(region, group),
        "State": "available",
        "Strategy": group.strategy,
        "Tags": listed(group.tags),
        **partitions,
    }


def _arn(region: Region, group: PlacementGroup) -> str:
    return f"arn:aws:ec2:{region.name}:{ACCOUNT}:placement-group/{group.name}"
