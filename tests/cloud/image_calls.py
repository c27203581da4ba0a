"""CreateImage, DescribeImages, DeregisterImage, and the snapshots that images are made of."""

from __future__ import annotations

from typing import Any

from cloud import timeline
from cloud.describing import find as find_instance
from cloud.filters import filtered, page
from cloud.images import ALIASES, AMAZON, OWN
from cloud.prices import snapshot_per_s
from cloud.refusals import Refusal, missing
from cloud.resources import Image, Instance, Region, Snapshot, Tags, new_id
from cloud.tags import listed, specified
from cloud.volumes import IMAGE_GB
from cloud.world import World


def create_image(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    if not asked.get("Name"):
        raise missing("Name")
    instance = find_instance(world, region, asked["InstanceId"])
    if instance.state not in ("running", "stopped"):
        raise Refusal("IncorrectState", f"Instance '{instance.id}' is not 'running' or 'stopped'.")
    same = [one for one in region.images.values() if (one.owner, one.name) == (OWN, asked["Name"])]
    if same:
        raise Refusal(
            "InvalidAMIName.Duplicate",
            f"AMI name {asked['Name']} is already in use by AMI {same[0].id}",
        )
    tags = specified(asked, "image", "snapshot")
    snapshot = _new_snapshot(world, region, instance, tags["snapshot"])
    image = _new_image(world, region, asked, instance, snapshot, tags["image"])
    snapshot.description = f"Created by CreateImage({instance.id}) for {image.id}"
    world.nodes.save(instance.id, image.id)
    if not asked.get("NoReboot") and instance.state == "running":
        timeline.reboot(world, instance)
    failure = world.settings.images_fail
    world.agenda.after(world.settings.image_s, lambda: _finish(image, snapshot, failure))
    return {"ImageId": image.id}


def describe_images(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    ids = asked.get("ImageIds", [])
    images = [_find(world, region, one) for one in ids] if ids else world.seen(region.images)
    if owners := asked.get("Owners"):
        wanted = {ALIASES.get(one, one) for one in owners}
        images = [one for one in images if one.owner in wanted]
    attributes = {
        "image-id": lambda image: image.id,
        "name": lambda image: image.name,
        "state": lambda image: image.state,
        "architecture": lambda image: image.architecture,
        "owner-id": lambda image: image.owner,
        "owner-alias": lambda image: "amazon" if image.owner == AMAZON else [],
        "creation-date": lambda image: image.created_text,
        "root-device-type": lambda _: "ebs",
        "root-device-name": lambda image: image.root_device,
        "virtualization-type": lambda _: "hvm",
        "image-type": lambda _: "machine",
        "is-public": lambda image: image.owner != OWN,
        "description": lambda image: image.description,
        "block-device-mapping.snapshot-id": lambda image: image.snapshot,
    }
    found = filtered(images, asked.get("Filters", []), attributes, lambda image: image.tags)
    shown, token = page(found, asked, size=world.settings.page_size, ids=ids)
    return {"Images": [_image_shown(one) for one in shown], "NextToken": token}


def deregister_image(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    """The snapshot stays, and costs, unless the call says otherwise."""
    image = _find(world, region, asked["ImageId"])
    if image.owner != OWN:
        raise Refusal("AuthFailure", f"Not authorized for image:{image.id}")
    del region.images[image.id]
    if asked.get("DeleteAssociatedSnapshots") and image.snapshot in region.snapshots:
        _remove_snapshot(world, region, image.snapshot)
        results = [{"SnapshotId": image.snapshot, "ReturnCode": "success"}]
        return {"Return": True, "DeleteSnapshotResults": results}
    return {"Return": True}


def describe_snapshots(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    ids = asked.get("SnapshotIds", [])
    snapshots = (
        [_find_snapshot(world, region, one) for one in ids] if ids else world.seen(region.snapshots)
    )
    if owners := asked.get("OwnerIds"):
        wanted = {ALIASES.get(one, one) for one in owners}
        snapshots = snapshots if OWN in wanted else []
    attributes = {
        "snapshot-id": lambda snapshot: snapshot.id,
        "volume-id": lambda snapshot: snapshot.volume,
        "status": lambda snapshot: snapshot.state,
        "owner-id": lambda _: OWN,
        "description": lambda snapshot: snapshot.description,
    }
    found = filtered(snapshots, asked.get("Filters", []), attributes, lambda one: one.tags)
    shown, token = page(found, asked, size=world.settings.page_size, ids=ids)
    return {"Snapshots": [_snapshot_shown(world, one) for one in shown], "NextToken": token}


def delete_snapshot(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    snapshot = _find_snapshot(world, region, asked["SnapshotId"])
    users = [one.id for one in region.images.values() if one.snapshot == snapshot.id]
    if users:
        raise Refusal(
            "InvalidSnapshot.InUse",
            f"The snapshot {snapshot.id} is currently in use by {users[0]}",
        )
    _remove_snapshot(world, region, snapshot.id)
    return {}


def _new_snapshot(world: World, region: Region, instance: Instance, tags: Tags) -> Snapshot:
    volume = region.volumes[instance.volumes[instance.root_device]]
    snapshot = Snapshot(
        id=new_id("snap"),
        tags=dict(tags),
        created=world.clock.now(),
        volume=volume.id,
        size_gb=volume.size_gb,
        description="",
        state="pending",
    )
    region.snapshots[snapshot.id] = snapshot
    world.bill.start(
        snapshot.id,
        dollars_per_s=snapshot_per_s(snapshot.size_gb),
        at_s=world.clock.simulated_s,
    )
    return snapshot


def _new_image(
    world: World,
    region: Region,
    asked: dict[str, Any],
    instance: Instance,
    snapshot: Snapshot,
    tags: Tags,
) -> Image:
    now = world.clock.now()
    image = Image(
        id=new_id("ami"),
        tags=dict(tags),
        created=now,
        name=asked["Name"],
        description=asked.get("Description", ""),
        owner=OWN,
        created_text=world.clock.shown(now).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        state="pending",
        architecture=instance.architecture,
        root_device=instance.root_device,
        snapshot=snapshot.id,
        source=instance.id,
        given=False,
    )
    region.images[image.id] = image
    return image


def _finish(image: Image, snapshot: Snapshot, failure: str) -> None:
    image.state, snapshot.state = ("failed", "error") if failure else ("available", "completed")
    image.failure = failure


def _remove_snapshot(world: World, region: Region, snapshot_id: str) -> None:
    world.bill.stop(snapshot_id, at_s=world.clock.simulated_s)
    del region.snapshots[snapshot_id]


def _find(world: World, region: Region, image_id: str) -> Image:
    return world.find(
        region.images,
        image_id,
        lambda key: Refusal("InvalidAMIID.NotFound", f"The image id '[{key}]' does not exist"),
    )


def _find_snapshot(world: World, region: Region, snapshot_id: str) -> Snapshot:
    return world.find(
        region.snapshots,
        snapshot_id,
        lambda key: Refusal("InvalidSnapshot.NotFound", f"The snapshot '{key}' does not exist."),
    )


def _image_shown(image: Image) -> dict[str, Any]:
    ebs: dict[str, Any] = {
        "VolumeSize": IMAGE_GB,
        "VolumeType": "gp3",
        "DeleteOnTermination": True,
        "Encrypted": False,
    }
    # While the image is pending, nobody is told of what it will be made of.
    if image.snapshot and image.state == "available":
        ebs["SnapshotId"] = image.snapshot
    return {
        "ImageId": image.id,
        "Name": image.name,
        "Description": image.description or None,
        "ImageLocation": f"{image.owner}/{image.name}",
        "OwnerId": image.owner,
        "ImageOwnerAlias": "amazon" if image.owner == AMAZON else None,
        "State": image.state,
        "StateReason": _reason(image.failure) if image.failure else None,
        "CreationDate": image.created_text,
        "Public": image.owner != OWN,
        "Architecture": image.architecture,
        "ImageType": "machine",
        "PlatformDetails": "Linux/UNIX",
        "RootDeviceName": image.root_device,
        "RootDeviceType": "ebs",
        "VirtualizationType": "hvm",
        "Hypervisor": "xen",
        "EnaSupport": True,
        "SourceInstanceId": image.source or None,
        "Tags": listed(image.tags),
        "BlockDeviceMappings": [{"DeviceName": image.root_device, "Ebs": ebs}],
    }


def _reason(failure: str) -> dict[str, str]:
    return {"Code": "Server.InternalError", "Message": f"Server.InternalError: {failure}"}


def _snapshot_shown(world: World, snapshot: Snapshot) -> dict[str, Any]:
    return {
        "SnapshotId": snapshot.id,
        "VolumeId": snapshot.volume,
        "VolumeSize": snapshot.size_gb,
        "State": snapshot.state,
        "Progress": "100%" if snapshot.state == "completed" else "0%",
        "StartTime": world.clock.shown(snapshot.created),
        "OwnerId": OWN,
        "Description": snapshot.description,
        "Encrypted": False,
        "Tags": listed(snapshot.tags),
    }
