"""The account's own images as AWS shows them, and removing those that cloister baked."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cloister.errors import ProviderError
from cloister.plan.images import ObservedImages, OwnImage, OwnSnapshot, Pruning
from cloister.providers.ec2 import api, tags
from cloister.providers.ec2.api import Aws, AwsError
from cloister.providers.ec2.image.images import latest, own_images
from cloister.providers.ec2.tags import tags_of

_CALLS_AT_ONCE = 16
# AWS takes so many values of a filter.
_VALUES_MAX = 200
_PAUSE_S = 0.5
_USING = ["pending", "running", "stopping", "stopped"]


def observed_images(
    aws: Aws, regions: Sequence[str], prefixes: Sequence[str]
) -> list[ObservedImages]:
    """Region by region; `prefixes` are what `ami: latest` of the configuration stands for."""
    with ThreadPoolExecutor(min(_CALLS_AT_ONCE, max(1, len(regions)))) as pool:
        return list(pool.map(lambda region: _observed(aws, region, prefixes), regions))


def as_own_image(entry: Mapping[str, Any], region: str, *, is_latest: bool = False) -> OwnImage:
    marks = tags_of(entry)
    disks = [m["Ebs"] for m in entry.get("BlockDeviceMappings") or () if "Ebs" in m]
    return OwnImage(
        id=entry["ImageId"],
        name=entry.get("Name", ""),
        region=region,
        state=entry["State"],
        architecture=entry.get("Architecture", ""),
        created=_seconds(entry.get("CreationDate") or ""),
        gib=sum(int(disk.get("VolumeSize", 0)) for disk in disks),
        prefix=marks.get(tags.IMAGE, ""),
        bake=marks.get(tags.BAKE, ""),
        latest=is_latest,
        snapshots=tuple(disk["SnapshotId"] for disk in disks if disk.get("SnapshotId")),
    )


def snapshots_of_bake(aws: Aws, region: str, bake: str) -> list[Any]:
    """As AWS describes them."""
    return _snapshots(aws, region, {"Name": f"tag:{tags.BAKE}", "Values": [bake]})


def remove_images(aws: Aws, chosen: Pruning, sleep: Callable[[float], None] = time.sleep) -> None:
    """Each image, then its snapshots; what is gone already is no error. ProviderError for what stays."""
    left = []
    for entry in chosen.removed:
        ids = [snapshot.id for snapshot in entry.snapshots]
        left += remove_image(aws, chosen.region, entry.image.id, ids, sleep)
    used = _remove_snapshots(aws, chosen.region, [one.id for one in chosen.orphans], sleep)
    if used:
        # Those whose image AWS had not shown yet are no orphans.
        shown = [as_own_image(one, chosen.region) for one in own_images(aws, chosen.region)]
        ours = {snapshot for image in shown if image.is_cloisters for snapshot in image.snapshots}
        left += [each for each in used if each not in ours]
    if left:
        raise ProviderError(
            f"still in use in {chosen.region}: {', '.join(left)}",
            hint="another image was made of them; remove that, then prune again",
        )


def remove_image(
    aws: Aws, region: str, image: str, snapshots: Iterable[str], sleep: Callable[[float], None]
) -> list[str]:
    """The image before its snapshots, which AWS does not delete while it is there; those that stay."""
    try:
        aws.asked(region, "deregister_image", ImageId=image)
    except AwsError as error:
        if not error.code.startswith("InvalidAMIID.") and not error.may_mean_gone:
            raise
    return _remove_snapshots(aws, region, snapshots, sleep)


def _remove_snapshots(
    aws: Aws, region: str, ids: Iterable[str], sleep: Callable[[float], None]
) -> list[str]:
    return [each for each in ids if not _remove_snapshot(aws, region, each, sleep)]


def _remove_snapshot(aws: Aws, region: str, snapshot: str, sleep: Callable[[float], None]) -> bool:
    """False if something uses it, also after the time in which its own image may still be seen."""
    ends_at = time.monotonic() + api.VISIBLE_WITHIN_S
    while True:
        try:
            aws.asked(region, "delete_snapshot", SnapshotId=snapshot)
        except AwsError as error:
            if error.code == "InvalidSnapshot.NotFound" or error.may_mean_gone:
                return True
            if error.code != "InvalidSnapshot.InUse":
                raise
            if time.monotonic() > ends_at:
                return False
            sleep(_PAUSE_S)
        else:
            return True


def _observed(aws: Aws, region: str, prefixes: Sequence[str]) -> ObservedImages:
    found = own_images(aws, region)
    meant = {image.id for prefix in prefixes for image in latest(found, prefix)}
    images = [as_own_image(one, region, is_latest=one["ImageId"] in meant) for one in found]
    marked = _snapshots(aws, region, {"Name": "tag-key", "Values": [tags.IMAGE]})
    return ObservedImages(
        region=region,
        images=tuple(images),
        snapshots=tuple(_as_own_snapshot(entry, region) for entry in marked),
        used_by=_used_by(aws, region, [image.id for image in images if image.is_cloisters]),
    )


def _snapshots(aws: Aws, region: str, which: Mapping[str, Any]) -> list[Any]:
    return list(
        aws.pages(region, "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=[which])
    )


def _as_own_snapshot(entry: Mapping[str, Any], region: str) -> OwnSnapshot:
    marks = tags_of(entry)
    return OwnSnapshot(
        id=entry["SnapshotId"],
        region=region,
        gib=int(entry.get("VolumeSize", 0)),
        prefix=marks.get(tags.IMAGE, ""),
        bake=marks.get(tags.BAKE, ""),
        settled=entry.get("State") != "pending",
    )


def _used_by(aws: Aws, region: str, images: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Image → instances of the account that run on it, or are stopped and would again."""
    users: dict[str, tuple[str, ...]] = {}
    for at in range(0, len(images), _VALUES_MAX):
        filters = [
            {"Name": "image-id", "Values": list(images[at : at + _VALUES_MAX])},
            {"Name": "instance-state-name", "Values": _USING},
        ]
        for reservation in aws.pages(
            region, "describe_instances", "Reservations", Filters=filters, MaxResults=1000
        ):
            for entry in reservation["Instances"]:
                users[entry["ImageId"]] = (
                    *users.get(entry["ImageId"], ()),
                    entry["InstanceId"],
                )
    return users


def _seconds(text: str) -> float:
    """Of AWS's own form, 2026-01-31T12:00:00.000Z; 0 if there is none."""
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
