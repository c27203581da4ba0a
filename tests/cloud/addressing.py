"""Network interfaces, which come and go with instances, and elastic addresses, which cost until released."""

from __future__ import annotations

from typing import Any

from cloud.describing import interface_shown
from cloud.filters import filtered, page
from cloud.prices import address_per_s
from cloud.refusals import Refusal
from cloud.resources import Address, Instance, Region, new_id
from cloud.tags import listed, specified
from cloud.world import World


def describe_network_interfaces(
    world: World, region: Region, asked: dict[str, Any]
) -> dict[str, Any]:
    instances = [one for one in world.seen(region.instances) if one.alive]
    ids = asked.get("NetworkInterfaceIds", [])
    if unknown := sorted(set(ids) - {one.interface for one in instances}):
        raise _no_interface(unknown[0])
    chosen = [one for one in instances if not ids or one.interface in ids]
    attributes = {
        "network-interface-id": lambda one: one.interface,
        "attachment.instance-id": lambda one: one.id,
        "availability-zone": lambda one: one.zone,
        "group-id": lambda one: one.groups,
        "subnet-id": lambda one: one.subnet,
        "vpc-id": lambda one: one.vpc,
        "status": lambda _: "in-use",
        "addresses.private-ip-address": lambda one: one.address,
        "private-ip-address": lambda one: one.address,
    }
    found = filtered(chosen, asked.get("Filters", []), attributes, lambda one: one.interface_tags)
    shown, token = page(found, asked, size=world.settings.page_size, ids=ids)
    return {
        "NetworkInterfaces": [_interface(world, region, one) for one in shown],
        "NextToken": token,
    }


def delete_network_interface(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    """All of them are attached as long as their instances are there."""
    interface = asked["NetworkInterfaceId"]
    if interface not in {one.interface for one in region.instances.values() if one.alive}:
        raise _no_interface(interface)
    raise Refusal("InvalidParameterValue", f"Network interface '{interface}' is currently in use.")


def allocate_address(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    address = Address(
        id=new_id("eipalloc"),
        tags=specified(asked, "elastic-ip")["elastic-ip"],
        created=world.clock.now(),
        public=world.nodes.addresses.take(),
    )
    region.addresses[address.id] = address
    world.bill.start(address.id, dollars_per_s=address_per_s(), at_s=world.clock.simulated_s)
    return {"AllocationId": address.id, "PublicIp": address.public, "Domain": "vpc"}


def release_address(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    address = _find(world, region, asked.get("AllocationId", ""))
    world.bill.stop(address.id, at_s=world.clock.simulated_s)
    del region.addresses[address.id]
    return {}


def describe_addresses(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    ids = asked.get("AllocationIds", [])
    addresses = [_find(world, region, one) for one in ids] if ids else world.seen(region.addresses)
    attributes = {
        "allocation-id": lambda one: one.id,
        "public-ip": lambda one: one.public,
        "domain": lambda _: "vpc",
    }
    found = filtered(addresses, asked.get("Filters", []), attributes, lambda one: one.tags)
    return {
        "Addresses": [
            {
                "AllocationId": one.id,
                "PublicIp": one.public,
                "Domain": "vpc",
                "Tags": listed(one.tags),
            }
            for one in found
        ]
    }


def _interface(world: World, region: Region, instance: Instance) -> dict[str, Any]:
    public = instance.public and instance.state == "running"
    shown = interface_shown(world, region, instance, public)
    attachment = {**shown["Attachment"], "InstanceId": instance.id}
    return {
        **shown,
        "Attachment": attachment,
        "AvailabilityZone": instance.zone,
        "TagSet": listed(instance.interface_tags),
    }


def _no_interface(interface: str) -> Refusal:
    return Refusal(
        "InvalidNetworkInterfaceID.NotFound",
        f"The networkInterface ID '{interface}' does not exist",
    )


def _find(world: World, region: Region, allocation_id: str) -> Address:
    return world.find(
        region.addresses,
        allocation_id,
        lambda key: Refusal(
            "InvalidAllocationID.NotFound", f"The allocation ID '{key}' does not exist"
        ),
    )
