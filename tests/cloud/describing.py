"""Instances as the describe calls show them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloud.filters import filtered, page
from cloud.groups import identifiers
from cloud.refusals import Refusal
from cloud.resources import Instance, Region
from cloud.tags import listed
from cloud.timeline import CODES, seen_state, shown_state
from cloud.world import ACCOUNT, World

# Simulated seconds of "initializing" before both status checks have passed.
CHECKS_S = 60.0


def describe_instances(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    """Pages are of instances: a reservation may be spread over two of them."""
    shown, token = _selected(world, region, asked, known_by_default=lambda _: True)
    return {"Reservations": _reservations(world, region, shown), "NextToken": token}


def describe_instance_status(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    everything = asked.get("IncludeAllInstances", False)
    shown, token = _selected(
        world,
        region,
        asked,
        known_by_default=lambda one: everything or seen_state(world, one) == "running",
    )
    return {
        "InstanceStatuses": [_status(world, instance) for instance in shown],
        "NextToken": token,
    }


def find(world: World, region: Region, instance_id: str) -> Instance:
    if not instance_id.startswith("i-"):
        raise Refusal(
            "InvalidInstanceID.Malformed", f'Invalid id: "{instance_id}" (expecting "i-...")'
        )
    return world.find(region.instances, instance_id, lambda key: _unknown([key]))


def find_all(world: World, region: Region, ids: list[str]) -> list[Instance]:
    """All, or a refusal that names every one that is not there."""
    unknown = [
        one
        for one in ids
        if one.startswith("i-")
        and not (one in region.instances and world.visible(region.instances[one]))
    ]
    if len(unknown) > 1:
        raise _unknown(unknown)
    return [find(world, region, one) for one in ids]


def reservation_shown(region: Region, instances: list[Instance]) -> dict[str, Any]:
    return {"ReservationId": instances[0].reservation, "OwnerId": ACCOUNT, "Groups": []}


def instance_shown(world: World, region: Region, instance: Instance, state: str) -> dict[str, Any]:
    """With what an instance has in this state: addresses, interfaces and volumes come and go."""
    return {
        **_always(world, instance, state),
        **_options(instance),
        **(_attached(world, region, instance, state) if state != "terminated" else _GONE),
    }


_GONE: dict[str, Any] = {
    "NetworkInterfaces": [],
    "BlockDeviceMappings": [],
    "SecurityGroups": [],
    "PublicDnsName": "",
    "PrivateDnsName": "",
}


def _selected(
    world: World,
    region: Region,
    asked: dict[str, Any],
    known_by_default: Callable[[Instance], bool],
) -> tuple[list[Instance], str | None]:
    ids = asked.get("InstanceIds", [])
    if ids:
        instances = find_all(world, region, ids)
    else:
        instances = [one for one in world.seen(region.instances) if known_by_default(one)]
    attributes = _attributes(world, region)
    found = filtered(instances, asked.get("Filters", []), attributes, lambda one: one.tags)
    return page(found, asked, size=world.settings.page_size, ids=ids)


def _attributes(world: World, region: Region) -> dict[str, Callable[[Instance], Any]]:
    return {
        "instance-id": lambda one: one.id,
        "instance-state-name": lambda one: seen_state(world, one),
        "instance-state-code": lambda one: CODES[seen_state(world, one)],
        "instance-type": lambda one: one.type,
        "instance-lifecycle": lambda one: "spot" if one.market == "spot" else [],
        "availability-zone": lambda one: one.zone,
        "availability-zone-id": lambda one: one.placement["AvailabilityZoneId"],
        "client-token": lambda one: one.token,
        "reservation-id": lambda one: one.reservation,
        "launch-index": lambda one: one.launch_index,
        "image-id": lambda one: one.image,
        "architecture": lambda one: one.architecture,
        "key-name": lambda one: one.key_name,
        "vpc-id": lambda one: one.vpc,
        "subnet-id": lambda one: one.subnet,
        "owner-id": lambda _: ACCOUNT,
        "placement-group-name": lambda one: one.placement["GroupName"],
        "spot-instance-request-id": lambda one: one.spot_request,
        "root-device-name": lambda one: one.root_device,
        "instance.group-id": lambda one: one.groups,
        "instance.group-name": lambda one: [
            group["GroupName"] for group in identifiers(region, one.groups)
        ],
        "private-ip-address": lambda one: one.address,
        "private-dns-name": private_name,
        "ip-address": lambda one: one.address if _has_public(one, seen_state(world, one)) else [],
        "dns-name": lambda one: one.address if _has_public(one, seen_state(world, one)) else [],
        "network-interface.network-interface-id": lambda one: one.interface,
    }


def _reservations(world: World, region: Region, instances: list[Instance]) -> list[dict[str, Any]]:
    together: dict[str, list[Instance]] = {}
    for instance in instances:
        together.setdefault(instance.reservation, []).append(instance)
    return [
        {
            **reservation_shown(region, members),
            "Instances": [
                instance_shown(world, region, one, seen_state(world, one)) for one in members
            ],
        }
        for members in together.values()
    ]


def _always(world: World, instance: Instance, state: str) -> dict[str, Any]:
    ended = state not in ("pending", "running")
    reason = instance.reason if ended else None
    return {
        "InstanceId": instance.id,
        "ImageId": instance.image,
        "State": shown_state(state),
        "StateTransitionReason": instance.transition if ended else "",
        "StateReason": {"Code": reason[0], "Message": reason[1]} if reason else None,
        "KeyName": instance.key_name or None,
        "AmiLaunchIndex": instance.launch_index,
        "InstanceType": instance.type,
        "Architecture": instance.architecture,
        "LaunchTime": world.clock.shown(instance.created),
        "Placement": instance.placement,
        "ClientToken": instance.token,
        "InstanceLifecycle": "spot" if instance.market == "spot" else None,
        "SpotInstanceRequestId": instance.spot_request or None,
        "Tags": listed(instance.tags),
        "RootDeviceName": instance.root_device,
        "RootDeviceType": "ebs",
        "VirtualizationType": "hvm",
        "Hypervisor": "xen",
        "EnaSupport": True,
        "ProductCodes": [],
    }


def _options(instance: Instance) -> dict[str, Any]:
    kept = instance.kept
    profile = kept.get("IamInstanceProfile")
    monitored = kept.get("Monitoring", {}).get("Enabled", False)
    return {
        "MetadataOptions": {"State": "applied", **instance.metadata},
        "Monitoring": {"State": "enabled" if monitored else "disabled"},
        "EbsOptimized": kept.get("EbsOptimized", False),
        "CpuOptions": kept.get("CpuOptions"),
        "IamInstanceProfile": _profile(profile) if profile else None,
    }


def _profile(given: dict[str, str]) -> dict[str, str]:
    named = f"arn:aws:iam::{ACCOUNT}:instance-profile/{given.get('Name', '')}"
    return {"Arn": given.get("Arn", named), "Id": "AIPASIMULATED"}


def _attached(world: World, region: Region, instance: Instance, state: str) -> dict[str, Any]:
    public = _has_public(instance, state)
    return {
        "PrivateIpAddress": instance.address,
        "PrivateDnsName": private_name(instance),
        # An address is a name that resolves everywhere.
        "PublicDnsName": instance.address if public else "",
        "PublicIpAddress": instance.address if public else None,
        "VpcId": instance.vpc,
        "SubnetId": instance.subnet,
        "SourceDestCheck": True,
        "SecurityGroups": identifiers(region, instance.groups),
        "NetworkInterfaces": [interface_shown(world, region, instance, public)],
        "BlockDeviceMappings": [_mapping(world, region, one) for one in instance.volumes.values()],
    }


def private_name(instance: Instance) -> str:
    return f"ip-{instance.address.replace('.', '-')}.{instance.region}.compute.internal"


def association(instance: Instance) -> dict[str, Any]:
    return {
        "PublicIp": instance.address,
        "PublicDnsName": instance.address,
        "IpOwnerId": "amazon",
    }


def interface_shown(
    world: World, region: Region, instance: Instance, public: bool
) -> dict[str, Any]:
    return {
        "NetworkInterfaceId": instance.interface,
        "OwnerId": ACCOUNT,
        "Status": "in-use",
        "SubnetId": instance.subnet,
        "VpcId": instance.vpc,
        "PrivateIpAddress": instance.address,
        "PrivateDnsName": private_name(instance),
        "SourceDestCheck": True,
        "Groups": identifiers(region, instance.groups),
        "InterfaceType": "interface",
        "Association": association(instance) if public else None,
        "Attachment": {
            "AttachmentId": instance.interface.replace("eni", "eni-attach"),
            "DeviceIndex": 0,
            "Status": "attached",
            "AttachTime": world.clock.shown(instance.created),
            "DeleteOnTermination": True,
        },
    }


def _mapping(world: World, region: Region, volume_id: str) -> dict[str, Any]:
    volume = region.volumes[volume_id]
    return {
        "DeviceName": volume.device,
        "Ebs": {
            "VolumeId": volume.id,
            "Status": "attached",
            "AttachTime": world.clock.shown(volume.created),
            "DeleteOnTermination": volume.with_instance,
        },
    }


def _has_public(instance: Instance, state: str) -> bool:
    return instance.public and state == "running"


def _status(world: World, instance: Instance) -> dict[str, Any]:
    state = seen_state(world, instance)
    age_s = world.clock.simulated_s - instance.created.simulated_s
    check = "ok" if age_s > CHECKS_S else "initializing"
    return {
        "InstanceId": instance.id,
        "AvailabilityZone": instance.zone,
        "InstanceState": shown_state(state),
        "InstanceStatus": {"Status": check if state == "running" else "not-applicable"},
        "SystemStatus": {"Status": check if state == "running" else "not-applicable"},
    }


def _unknown(ids: list[str]) -> Refusal:
    if len(ids) == 1:
        text = f"The instance ID '{ids[0]}' does not exist"
    else:
        text = f"The instance IDs '{', '.join(ids)}' do not exist"
    return Refusal("InvalidInstanceID.NotFound", text)
