"""What would still cost money or belongs to somebody, and what each instance is really doing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloud.resources import Instance, Region
from cloud.schedules import all_schedules
from cloud.world import World


def billable(world: World) -> list[str]:
    """ "region kind id name", or nothing if there is no leak. Truth, whatever describes show."""
    return [line for region in world.regions() for line in _of_region(region)]


def instances(world: World) -> list[dict[str, Any]]:
    """In the order of their launches."""
    return [_instance(world, one) for one in sorted(world.instances(), key=lambda i: i.number)]


def _of_region(region: Region) -> Iterator[str]:
    alive = [one for one in region.instances.values() if one.alive]
    for kind, found in (
        ("instance", [(one.id, f"{one.state} {one.tags.get('Name', '')}") for one in alive]),
        ("network-interface", [(one.interface, f"of {one.id}") for one in alive]),
        (
            "volume",
            [
                (one.id, f"{one.instance or 'available'} {one.tags.get('Name', '')}")
                for one in region.volumes.values()
            ],
        ),
        ("address", [(one.id, one.public) for one in region.addresses.values()]),
        (
            "security-group",
            [(one.id, one.name) for one in region.groups.values() if one.name != "default"],
        ),
        ("key-pair", [(one.id, one.name) for one in region.keys.values()]),
        ("placement-group", [(one.id, one.name) for one in region.placement_groups.values()]),
        ("snapshot", [(one.id, one.description) for one in region.snapshots.values()]),
        ("image", [(one.id, one.name) for one in region.images.values() if not one.given]),
        ("schedule", [(one.name, one.schedule_expression) for one in all_schedules(region.name)]),
    ):
        for resource_id, about in found:
            yield f"{region.name} {kind} {resource_id} {about}".strip()


def _instance(world: World, instance: Instance) -> dict[str, Any]:
    lease_s = instance.lease_end_s
    return {
        "id": instance.id,
        "region": instance.region,
        "zone": instance.zone,
        "type": instance.type,
        "market": instance.market,
        "state": instance.state,
        "name": instance.tags.get("Name", ""),
        "tags": instance.tags,
        "address": instance.address,
        "pid": world.nodes.sshd(instance.id),
        "token": instance.token,
        "launch_index": instance.launch_index,
        "host_key": world.nodes.host_key(instance.id),
        "home": str(world.nodes.folder(instance.id) / "home"),
        # By the wall clock; the latter is None until the SSH port was let open.
        "launched_s": instance.created.wall_s,
        "opened_s": instance.opened_s,
        # Simulated seconds until the guest shuts itself down, if it has said so.
        "lease_s": None if lease_s is None else lease_s - world.clock.simulated_s,
    }
