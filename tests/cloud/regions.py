"""The regions that the account has enabled."""

from __future__ import annotations

from typing import Any

from moto.ec2.models import ec2_backends

from cloud.resources import Region
from cloud.world import ACCOUNT, World


def describe_regions(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    names = world.settings.regions or sorted(
        known.name for known in ec2_backends[ACCOUNT][region.name].describe_regions()
    )
    wanted = asked.get("RegionNames") or names
    return {
        "Regions": [
            {
                "RegionName": name,
                "Endpoint": f"ec2.{name}.amazonaws.com",
                "OptInStatus": "opt-in-not-required",
            }
            for name in names
            if name in wanted
        ]
    }
