"""From an instance to an image: asked for once, whatever is killed, awaited, and tagged from the call on.

CreateImage has no idempotency token. A name can be only one image's, though, so the name stands for the
bake: it is in the journal before the call, and the same call under the same name makes nothing twice.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import re
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cloister.durable import sync_folder
from cloister.errors import ProviderError, UsageError
from cloister.plan.images import ImageSource, OwnImage
from cloister.providers.ec2 import api, tags
from cloister.providers.ec2.api import Aws, AwsError
from cloister.providers.ec2.image.own_images import as_own_image, remove_image, snapshots_of_bake
from cloister.providers.ec2.journal import FILE, Intent, Journal
from cloister.providers.ec2.tags import tags_of

_ACTION = "create_image"
# AWS copies some hundred MB per second, and only what has changed since the last snapshot of a disk.
_AVAILABLE_WITHIN_S = 2 * 3600.0
# An image of so long ago is not what somebody wants who bakes now, even if that bake was cut off.
_CONTINUES_WITHIN_S = 3600.0
_FIRST_PAUSE_S, _PAUSE_S_MAX = 0.1, 10.0
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateImage.html
_NAME = re.compile(r"[A-Za-z0-9()\[\] ./'@_-]{1,100}")
_SEPARATORS = tuple("-_./ ")

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baking:
    """What the steps of one bake have in common."""

    aws: Aws
    journal: Journal
    region: str
    say: Say
    sleep: Callable[[float], None]


def images_folder(state: Path, aws: Aws, region: str) -> Path:
    """Where the journal of the account's images of a region is; made if it is not there."""
    folder = state / "images" / aws.account / region
    for each in reversed((folder, *folder.parents)):
        if not each.exists():
            each.mkdir(mode=0o700, exist_ok=True)
            sync_folder(each.parent)
    return folder


def bake(
    aws: Aws,
    state: Path,
    source: ImageSource,
    prefix: str,
    *,
    reboot: bool,
    anew: bool,
    say: Say,
    sleep: Callable[[float], None] = time.sleep,
) -> OwnImage:
    """The image, available. A bake of the same that was cut off a short time ago is continued.

    anew: never continue one.  ProviderError with AWS's reason if no image came of it; then none is left.
    """
    _expect_name(prefix)
    journal = Journal(images_folder(state, aws, source.region) / FILE)
    baking = Baking(aws=aws, journal=journal, region=source.region, say=say, sleep=sleep)
    reboot = reboot and source.state == "running" and not source.cluster
    intent = _continued(baking, source, prefix, anew=anew, reboot=reboot)
    is_new = intent is None
    if intent is None:
        intent = journal.intend(source.region, _ACTION, _request(source, prefix, reboot))
        say(f"making {_name(intent)} of {source} in {source.region}, {_rebooting(source, reboot)}")
    try:
        if is_new:
            _create(baking, intent)
        image = _awaited(baking, intent)
    except KeyboardInterrupt:
        say(f"{_name(intent)}: AWS goes on making it; `cloister bake` again waits for it")
        raise
    journal.settle(intent, image.id, synced=True)
    return image


def _expect_name(prefix: str) -> None:
    if not _NAME.fullmatch(prefix):
        raise UsageError(
            f"no image's name can begin with {prefix!r}",
            hint="it has 1 to 100 letters, digits, spaces, and any of ()[]./-'@_",
        )


def _request(source: ImageSource, prefix: str, reboot: bool) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC)
    between = "" if prefix.endswith(_SEPARATORS) else "-"
    name = f"{prefix}{between}{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03}"
    version = importlib.metadata.version("cloister")
    marks = tags.of_image(prefix, secrets.token_hex(8), name, version)
    return {
        "InstanceId": source.instance,
        "Name": name,
        "Description": f"baked by cloister of {source.instance}",
        "NoReboot": not reboot,
        "TagSpecifications": tags.specification(["image", "snapshot"], marks),
    }


def _rebooting(source: ImageSource, reboot: bool) -> str:
    if reboot:
        return "which is rebooted now, so that the image's files are whole (--no-reboot leaves it running)"
    if source.state == "stopped":
        return "which is stopped, and stays so"
    if source.cluster:
        return (
            f"a node of cluster {source.cluster} and therefore not rebooted; its lease is in the image,"
            " with which instances that you launch yourself would end, too"
        )
    return "which is not rebooted: files that are being written may be cut off in the image"


# --- continuing ----------------------------------------------------------------------------------


def _continued(
    baking: Baking, source: ImageSource, prefix: str, *, anew: bool, reboot: bool
) -> Intent | None:
    """The bake to go on with, of which AWS has had the call; all others are history."""
    chosen = None
    for intent in baking.journal.open_intents:
        there = _described(baking, intent)
        # What AWS may not have heard of yet must not reboot what is not to be rebooted now.
        may = there is not None or reboot or intent.request["NoReboot"]
        if not anew and may and chosen is None and _is_meant(intent, source, prefix, there):
            chosen = intent
            since = time.strftime("%H:%M:%S", time.localtime(intent.time))
            baking.say(
                f"continuing the bake of {since}, {_name(intent)} (--anew makes another image)"
            )
            if there is None:
                _create(baking, intent, was_asked=True)
        else:
            outcome = there["ImageId"] if there else "not seen"
            baking.say(f"a bake that was cut off is left as it is: {_name(intent)}, {outcome}")
            baking.journal.settle(intent, outcome)
    return chosen


def _is_meant(
    intent: Intent, source: ImageSource, prefix: str, there: Mapping[str, Any] | None
) -> bool:
    same = (intent.request["InstanceId"], _marks(intent)[tags.IMAGE]) == (source.instance, prefix)
    is_young = time.time() - intent.time < _CONTINUES_WITHIN_S
    is_pending = there is not None and there["State"] == "pending"
    return same and (is_young or is_pending)


def _create(baking: Baking, intent: Intent, *, was_asked: bool = False) -> None:
    """The call; when AWS says that the name is taken, the image is there, by this bake or by another's."""
    try:
        baking.aws.asked(intent.region, intent.action, **intent.request)
    except AwsError as error:
        if error.code == "InvalidAMIName.Duplicate":
            return
        if not was_asked and not error.repeated:
            baking.journal.settle(intent, error.code, refused=True)
        raise


# --- waiting -------------------------------------------------------------------------------------


def _awaited(baking: Baking, intent: Intent) -> OwnImage:
    """Until the image is available."""
    began = seen = time.monotonic()
    pause_s, told = _FIRST_PAUSE_S, ""
    while True:
        entry, now = _described(baking, intent), time.monotonic()
        if entry is not None:
            seen = now
            match entry["State"]:
                case "available":
                    return as_own_image(entry, baking.region)
                case "pending" | "transient":
                    told = _tell(baking, intent, entry, told)
                case _:
                    raise _failed(baking, intent, entry)
        _expect_in_time(intent, unseen_s=now - seen, waited_s=now - began)
        baking.sleep(pause_s)
        pause_s = min(1.5 * pause_s, _PAUSE_S_MAX)


def _expect_in_time(intent: Intent, *, unseen_s: float, waited_s: float) -> None:
    what = f"image {_name(intent)} in {intent.region}"
    if unseen_s > api.VISIBLE_WITHIN_S:
        raise ProviderError(
            f"{what} was made but is not seen", hint="somebody removed it, or `cloister bake` again"
        )
    if waited_s > _AVAILABLE_WITHIN_S:
        raise ProviderError(
            f"{what} is still not available after {_AVAILABLE_WITHIN_S / 3600:g} h",
            hint="`cloister bake` again goes on waiting",
        )


def _described(baking: Baking, intent: Intent) -> Mapping[str, Any] | None:
    """The bake's image as AWS shows it; None if it does not. ProviderError if the name is another's."""
    # Not by its id: of an id that it does not show yet AWS says that there is none.
    filters = [{"Name": "name", "Values": [_name(intent)]}]
    found = baking.aws.pages(
        intent.region, "describe_images", "Images", Owners=["self"], Filters=filters
    )
    for entry in found:
        if tags_of(entry).get(tags.BAKE) == _marks(intent)[tags.BAKE]:
            image: Mapping[str, Any] = entry
            return image
        baking.journal.settle(intent, "the name is another's", refused=True)
        raise ProviderError(
            f"image {_name(intent)} ({entry['ImageId']}) in {intent.region} is not of this bake",
            hint="`cloister bake` again makes one of another name",
        )
    return None


def _tell(baking: Baking, intent: Intent, entry: Mapping[str, Any], told: str) -> str:
    """Say how far it is, if that has changed; what was said."""
    snapshots = snapshots_of_bake(baking.aws, baking.region, _marks(intent)[tags.BAKE])
    parts = [int(one["Progress"].rstrip("%") or 0) for one in snapshots if one.get("Progress")]
    text = f"{entry['State']}, {sum(parts) // len(parts)} % copied" if parts else entry["State"]
    if text != told:
        baking.say(f"{_name(intent)} ({entry['ImageId']}): {text}")
    return text


def _failed(baking: Baking, intent: Intent, entry: Mapping[str, Any]) -> ProviderError:
    """The error to raise, when the image and its snapshots are removed."""
    snapshots = snapshots_of_bake(baking.aws, baking.region, _marks(intent)[tags.BAKE])
    ids = [one["SnapshotId"] for one in snapshots]
    left = remove_image(baking.aws, baking.region, entry["ImageId"], ids, baking.sleep)
    baking.journal.settle(intent, entry["State"], refused=True, synced=True)
    but = f", but for {', '.join(left)}" if left else ""
    why = (entry.get("StateReason") or {}).get("Message") or "AWS does not say why"
    return ProviderError(
        f"image {_name(intent)} ({entry['ImageId']}) in {baking.region}: {entry['State']}: {why}",
        hint=f"it is removed{but}; `cloister bake` again makes another one",
    )


def _name(intent: Intent) -> str:
    return str(intent.request["Name"])


def _marks(intent: Intent) -> dict[str, str]:
    return tags_of(intent.request["TagSpecifications"][0])
