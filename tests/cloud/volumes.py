"""Volumes: those of instances and those by themselves, which stay and cost when an instance has gone."""

from __future__ import annotations

from typing import Any

from cloud.filters import filtered, page
from cloud.idempotency import earlier_creation, remember_creation
from cloud.prices import volume_per_s
from cloud.refusals import Refusal, invalid_value, missing
from cloud.resources import Instance, Region, Tags, Volume, new_id
from cloud.tags import listed, specified
from cloud.world import World

IMAGE_GB = 8
DEFAULT_TYPE = "gp3"
TYPES = ("gp2", "gp3", "io1", "io2", "st1", "sc1", "standard")


def create_with(
    world: World, region: Region, instance: Instance, mapping: dict[str, Any], tags: Tags
) -> None:
    """One volume of a launch."""
    device, ebs = mapping["DeviceName"], mapping.get("Ebs", {})
    volume = _new(world, region, zone=instance.zone, asked=ebs, tags=tags)
    volume.instance, volume.device = instance.id, device
    volume.with_instance = ebs.get("DeleteOnTermination", device == instance.root_device)
    instance.volumes[device] = volume.id


def mappings(asked: dict[str, Any], root_device: str) -> list[dict[str, Any]]:
    """The image's own root volume, changed by what the call says about it, and further volumes."""
    given = [one for one in asked.get("BlockDeviceMappings", []) if "NoDevice" not in one]
    for one in given:
        _check(one)
    roots = [one for one in given if one["DeviceName"] == root_device]
    others = [one for one in given if one["DeviceName"] != root_device and "Ebs" in one]
    return [*(roots or [{"DeviceName": root_device}]), *others]


def release(world: World, instance: Instance, at_s: float) -> None:
    """The instance has ended: its volumes go with it or stay behind."""
    region = world.region(instance.region)
    for volume_id in instance.volumes.values():
        volume = region.volumes[volume_id]
        if volume.with_instance:
            _delete(world, region, volume, at_s)
        else:
            volume.instance = volume.device = ""
    instance.volumes.clear()


def create_volume(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    zone = asked.get("AvailabilityZone") or asked.get("AvailabilityZoneId")
    if not zone:
        raise missing("AvailabilityZone")
    if "Size" not in asked and "SnapshotId" not in asked:
        raise missing("size")
    name = world.network.zone(region.name, zone).name
    if (before := earlier_creation(region, asked)) is not None:
        return before
    tags = specified(asked, "volume")["volume"]
    volume = _new(
        world, region, zone=name, asked={**asked, "VolumeSize": asked.get("Size")}, tags=tags
    )
    shown = _shown(world, volume)
    remember_creation(region, asked, shown)
    return shown


def delete_volume(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    volume = _find(world, region, asked["VolumeId"])
    if volume.instance:
        raise Refusal(
            "VolumeInUse", f"Volume {volume.id} is currently attached to {volume.instance}"
        )
    _expect_made(world, volume)
    _delete(world, region, volume, world.clock.simulated_s)
    return {}


def attach_volume(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    volume = _find(world, region, asked["VolumeId"])
    instance = world.find(region.instances, asked["InstanceId"], _unknown_instance)
    if volume.instance:
        raise Refusal("VolumeInUse", f"{volume.id} is already attached to an instance")
    _expect_made(world, volume)
    if instance.state not in ("running", "stopped"):
        raise Refusal("IncorrectState", f"Instance '{instance.id}' is not 'running'.")
    if instance.zone != volume.zone:
        raise Refusal(
            "InvalidVolume.ZoneMismatch",
            f"The volume '{volume.id}' is not in the same availability zone as instance '{instance.id}'",
        )
    if asked["Device"] in instance.volumes:
        raise invalid_value(
            f"Invalid value '{asked['Device']}' for unixDevice. Attachment point is already in use"
        )
    # Volumes that are attached later are never deleted with the instance.
    volume.instance, volume.device, volume.with_instance = instance.id, asked["Device"], False
    instance.volumes[volume.device] = volume.id
    world.nodes.plug(instance.id, volume.id, volume.size_gb << 30)
    return _attachment(world, volume)


def detach_volume(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    volume = _find(world, region, asked["VolumeId"])
    if not volume.instance:
        raise Refusal("IncorrectState", f"Volume '{volume.id}' is in the 'available' state.")
    shown = {**_attachment(world, volume), "State": "detaching"}
    region.instances[volume.instance].volumes.pop(volume.device, None)
    volume.instance = volume.device = ""
    return shown


def describe_volumes(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    ids = asked.get("VolumeIds", [])
    volumes = [_find(world, region, one) for one in ids] if ids else world.listed(region.volumes)
    attributes = {
        "volume-id": lambda volume: volume.id,
        "status": lambda volume: _state(world, volume),
        "availability-zone": lambda volume: volume.zone,
        "volume-type": lambda volume: volume.type,
        "size": lambda volume: volume.size_gb,
        "snapshot-id": lambda volume: volume.snapshot,
        "attachment.instance-id": lambda volume: volume.instance,
        "attachment.device": lambda volume: volume.device,
        "attachment.status": lambda volume: "attached" if volume.instance else "",
    }
    found = filtered(volumes, asked.get("Filters", []), attributes, lambda volume: volume.tags)
    shown, token = page(found, asked, size=world.settings.page_size, ids=ids)
    return {"Volumes": [_shown(world, one) for one in shown], "NextToken": token}


def _new(world: World, region: Region, *, zone: str, asked: dict[str, Any], tags: Tags) -> Volume:
    volume = Volume(
        id=new_id("vol"),
        tags=dict(tags),
        created=world.clock.now(),
        zone=zone,
        size_gb=asked.get("VolumeSize") or IMAGE_GB,
        type=asked.get("VolumeType", DEFAULT_TYPE),
        snapshot=asked.get("SnapshotId", ""),
        iops=asked.get("Iops"),
        throughput=asked.get("Throughput"),
    )
    region.volumes[volume.id] = volume
    rate = volume_per_s(volume.size_gb)
    world.bill.start(volume.id, dollars_per_s=rate, at_s=world.clock.simulated_s)
    return volume


def _delete(world: World, region: Region, volume: Volume, at_s: float) -> None:
    world.bill.stop(volume.id, at_s=at_s)
    world.remove(region.volumes, volume.id)


def _check(mapping: dict[str, Any]) -> None:
    if "DeviceName" not in mapping:
        raise missing("deviceName")
    ebs = mapping.get("Ebs", {})
    if ebs.get("VolumeType", DEFAULT_TYPE) not in TYPES:
        raise invalid_value(f"Invalid value '{ebs['VolumeType']}' for VolumeType.")
    if (size := ebs.get("VolumeSize", IMAGE_GB)) < 1:
        raise invalid_value(f"Volume size {size} is not valid")
    if (
        size < IMAGE_GB
        and "SnapshotId" not in ebs
        and mapping["DeviceName"] in ("/dev/sda1", "/dev/xvda")
    ):
        raise Refusal(
            "InvalidBlockDeviceMapping",
            f"Volume of size {size}GB is smaller than snapshot, expect size >= {IMAGE_GB}GB",
        )


def _find(world: World, region: Region, volume_id: str) -> Volume:
    return world.find(
        region.volumes,
        volume_id,
        lambda key: Refusal("InvalidVolume.NotFound", f"The volume '{key}' does not exist."),
    )


def keep_with(region: Region, instance: Instance, mapping: dict[str, Any]) -> None:
    """Whether a volume that the instance has goes with it."""
    device, ebs = mapping.get("DeviceName", ""), mapping.get("Ebs", {})
    volume_id = instance.volumes.get(device)
    if volume_id is None or ebs.get("VolumeId", volume_id) != volume_id:
        raise Refusal("InvalidInstanceAttributeValue", f"No device is currently mapped at {device}")
    region.volumes[volume_id].with_instance = bool(ebs.get("DeleteOnTermination"))


def _state(world: World, volume: Volume) -> str:
    if volume.instance:
        return "in-use"
    age_s = world.clock.now().real_s - volume.created.real_s
    return "available" if age_s >= world.settings.volume_s else "creating"


def _expect_made(world: World, volume: Volume) -> None:
    if _state(world, volume) == "creating":
        raise Refusal("IncorrectState", f"Volume '{volume.id}' is in the 'creating' state.")


def _shown(world: World, volume: Volume) -> dict[str, Any]:
    return {
        "VolumeId": volume.id,
        "Size": volume.size_gb,
        "VolumeType": volume.type,
        "SnapshotId": volume.snapshot,
        "AvailabilityZone": volume.zone,
        "State": _state(world, volume),
        "CreateTime": world.clock.shown(volume.created),
        "Encrypted": False,
        "Iops": volume.iops,
        "Throughput": volume.throughput,
        "Tags": listed(volume.tags),
        "Attachments": [_attachment(world, volume)] if volume.instance else [],
    }


def _attachment(world: World, volume: Volume) -> dict[str, Any]:
    return {
        "VolumeId": volume.id,
        "InstanceId": volume.instance,
        "Device": volume.device,
        "State": "attached",
        "AttachTime": world.clock.shown(volume.created),
        "DeleteOnTermination": volume.with_instance,
    }


def _unknown_instance(key: str) -> Refusal:
    return Refusal("InvalidInstanceID.NotFound", f"The instance ID '{key}' does not exist")
