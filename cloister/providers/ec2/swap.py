"""Volumes for swap: made with the cluster's tags, attached, and marked to go with their instance.

Each round looks, and does for every instance the next step that is missing: killed anywhere, the next call
continues. What was made and not attached carries the cluster's tags, by which a destroy finds it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from cloister.config.spec import ClusterSpec
from cloister.errors import CloisterError, ProviderError
from cloister.providers.ec2 import api, tags
from cloister.providers.ec2.api import Aws, AwsError, Credentials
from cloister.providers.ec2.journal import Intent, Journal
from cloister.providers.ec2.launch.batches import machine_of
from cloister.providers.ec2.observing import Instance
from cloister.providers.ec2.tags import tags_of
from cloister.providers.provider import Swap, Swaps

# A name for AWS; what the node calls it, the volume's id tells.
DEVICE = "/dev/sdf"
CREATE = "create_volume"
_WITHIN_S = 180.0
_FIRST_PAUSE_S, _PAUSE_S_MAX = 0.1, 2.0
_CALLS_AT_ONCE = 5
_ATTEMPTS_MAX = 5
# Answers that say nothing new, or come before AWS shows what was just done: the next look decides.
_LOOK_AGAIN = frozenset(("VolumeInUse", "InvalidVolume.NotFound", "IncorrectState"))

Step = Literal["create", "attach", "keep", "wait", "done"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Volume:
    """`owner` is the instance that it was made for, `instance` the one that has it as `device`, if any."""

    id: str
    owner: str
    region: str
    state: str
    gib: int
    instance: str
    device: str
    attached: bool
    goes_with_it: bool


def next_step(volume: Volume | None) -> Step:
    """What is missing until the volume is the instance's, and goes with it."""
    if volume is None:
        return "create"
    if volume.state == "available":
        return "attach"
    if not volume.attached:
        return "wait"
    return "done" if volume.goes_with_it else "keep"


def wanted(spec: ClusterSpec | None, living: Iterable[Instance]) -> dict[str, tuple[Instance, int]]:
    """Node → its instance and the GiB that its role has."""
    roles = spec.roles if spec else {}
    found = {}
    for instance in living:
        gib = (
            machine_of(spec, instance.roles[0]).swap
            if spec and instance.roles[0] in roles
            else None
        )
        if gib is not None and instance.identity is not None:
            found[instance.name] = (instance, gib)
    return found


def uid_of(wanted: Mapping[str, tuple[Instance, int]]) -> str:
    identity = next(iter(wanted.values()))[0].identity
    return identity.uid if identity else ""


def attach_all(
    aws: Aws,
    journal: Journal,
    name: str,
    wanted: Mapping[str, tuple[Instance, int]],
    *,
    living: Iterable[Instance],
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Swaps:
    """wanted: node → its instance and GiB.  living: all instances of the cluster, in these regions."""
    regions = sorted({instance.region for instance, _ in wanted.values()})
    ids = {instance.id for instance in living}
    work = _Work(aws, journal, say)
    todo, done, errors = dict(wanted), dict[str, Swap](), dict[str, CloisterError]()
    ends_at, pause_s = time.monotonic() + _WITHIN_S, _FIRST_PAUSE_S
    while todo:
        seen = volumes(aws, name, regions)
        work.remove_orphans([v for v in seen if v.owner not in ids and v.state == "available"])
        by_owner = {volume.owner: volume for volume in seen if volume.owner in ids}
        work.note(by_owner)
        with ThreadPoolExecutor(_CALLS_AT_ONCE) as pool:
            steps = [
                (node, by_owner.get(entry[0].id), pool.submit(work.step, node, *entry, by_owner))
                for node, entry in todo.items()
            ]
        for node, volume, future in steps:
            try:
                if future.result() and volume is not None:
                    done[node] = Swap(volume=volume.id, gib=volume.gib)
            except Credentials:
                raise
            except ProviderError as error:
                errors[node] = ProviderError(f"{node}: {error}", hint=error.hint)
            else:
                if time.monotonic() > ends_at and node not in done:
                    errors[node] = _late(node, volume)
        todo = {n: entry for n, entry in todo.items() if n not in done and n not in errors}
        if todo:
            sleep(pause_s)
            pause_s = min(1.5 * pause_s, _PAUSE_S_MAX)
    return Swaps(volumes=done, errors=errors)


def volumes(aws: Aws, name: str, regions: Iterable[str]) -> list[Volume]:
    """Those for swap, the ones that are going left out."""
    filters = [*tags.of_cluster(name), {"Name": "tag-key", "Values": [tags.SWAP]}]
    return [
        _volume(entry, region)
        for region in regions
        for entry in aws.pages(region, "describe_volumes", "Volumes", Filters=filters)
        if entry["State"] not in ("deleting", "deleted", "error")
    ]


def _volume(entry: Mapping[str, Any], region: str) -> Volume:
    attachments: Sequence[Mapping[str, Any]] = entry.get("Attachments") or ()
    here = attachments[0] if attachments else {}
    return Volume(
        id=entry["VolumeId"],
        owner=tags_of(entry).get(tags.SWAP, ""),
        region=region,
        state=entry["State"],
        gib=int(entry["Size"]),
        instance=here.get("InstanceId", ""),
        device=here.get("Device", ""),
        attached=here.get("State") == "attached",
        goes_with_it=bool(here.get("DeleteOnTermination")),
    )


def _late(node: str, volume: Volume | None) -> ProviderError:
    what = f"{volume.id} is {volume.state}" if volume else "AWS does not show its volume"
    return ProviderError(
        f"{node}: after {_WITHIN_S:g} s {what}", hint="`cloister attach-swap` again continues"
    )


@dataclasses.dataclass
class _Made:
    attempt: int
    at: float


class _Work:
    def __init__(self, aws: Aws, journal: Journal, say: Callable[[str], None]) -> None:
        self._aws, self._journal, self._say = aws, journal, say
        self._made: dict[str, _Made] = {}
        self._unseen: dict[str, Intent] = {}

    def step(self, node: str, instance: Instance, gib: int, by_owner: Mapping[str, Volume]) -> bool:
        """Do what is next; whether nothing was left to do."""
        volume = by_owner.get(instance.id)
        if volume is not None and volume.instance not in ("", instance.id):
            raise ProviderError(f"its volume {volume.id} is attached to {volume.instance}")
        match next_step(volume):
            case "done":
                return True
            case "create":
                self._create(node, instance, gib)
            case "attach":
                assert volume is not None
                self._change(
                    instance,
                    "attach_volume",
                    VolumeId=volume.id,
                    InstanceId=instance.id,
                    Device=DEVICE,
                )
            case "keep":
                assert volume is not None
                # Volumes that are attached later would stay when the instance ends.
                mapping = {"DeviceName": volume.device, "Ebs": {"DeleteOnTermination": True}}
                self._change(
                    instance,
                    "modify_instance_attribute",
                    InstanceId=instance.id,
                    BlockDeviceMappings=[mapping],
                )
        return False

    def note(self, by_owner: Mapping[str, Volume]) -> None:
        """A destroy need not wait for what has been seen."""
        for owner in [owner for owner in self._unseen if owner in by_owner]:
            self._journal.settle(self._unseen.pop(owner), by_owner[owner].id, seen=True)

    def _create(self, node: str, instance: Instance, gib: int) -> None:
        """Once; again only if what was made has not been seen for as long as that may take."""
        made = self._made.get(instance.id)
        if made is not None and time.monotonic() - made.at < api.VISIBLE_WITHIN_S:
            return
        attempt = made.attempt + 1 if made else 0
        if attempt == _ATTEMPTS_MAX:
            return
        self._made[instance.id] = _Made(attempt=attempt, at=time.monotonic())
        request = creation(instance, gib, attempt)
        intent = self._journal.intend(instance.region, CREATE, request)
        self._unseen[instance.id] = intent
        try:
            volume = self._aws.asked(instance.region, CREATE, **request)
        except AwsError as error:
            # Made before, with another size or lease: it will be seen.
            mismatch = error.code == "IdempotentParameterMismatch"
            self._journal.settle(intent, error.code, refused=not mismatch)
            if not mismatch:
                raise
            return
        self._journal.settle(intent, str(volume["VolumeId"]))
        self._say(f"{node}: {gib} GiB in {instance.zone}: {volume['VolumeId']}")

    def _change(self, instance: Instance, action: str, **request: Any) -> None:
        try:
            self._aws.asked(instance.region, action, **request)
        except AwsError as error:
            if error.code not in _LOOK_AGAIN:
                raise

    def remove_orphans(self, orphans: Iterable[Volume]) -> None:
        """Made for instances that ended before they had them."""
        for volume in orphans:
            self._say(f"removing volume {volume.id}, whose node is gone")
            try:
                self._aws.asked(volume.region, "delete_volume", VolumeId=volume.id)
            except AwsError as error:
                if error.code not in _LOOK_AGAIN:
                    raise


def creation(instance: Instance, gib: int, attempt: int = 0) -> dict[str, Any]:
    """The parameters of CreateVolume: an instance of the cluster has one token for each attempt."""
    assert instance.identity is not None
    text = f"swap/{instance.identity.uid}/{instance.id}/{attempt}"
    marks = instance.identity.tags() | {tags.SWAP: instance.id}
    return {
        "AvailabilityZone": instance.zone,
        "Size": gib,
        "VolumeType": "gp3",
        "TagSpecifications": tags.specification(["volume"], marks),
        "ClientToken": hashlib.sha256(text.encode()).hexdigest(),
    }
