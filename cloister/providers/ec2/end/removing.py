"""Ending instances and what belongs to no instance; by tags, again and again if need be."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from cloister.errors import ProviderError
from cloister.providers.ec2 import api, tags
from cloister.providers.ec2.api import DENIED, Aws, AwsError
from cloister.providers.ec2.journal import Intent
from cloister.providers.ec2.lease import schedules
from cloister.providers.ec2.observing import Instance, Thing
from cloister.providers.ec2.tags import CLUSTER, tags_of

# AWS ends an instance in one to three minutes, and some machine types in ten.
_ENDED_WITHIN_S = 900.0
_FIRST_PAUSE_S, _PAUSE_S_MAX = 0.1, 2.0
_AT_ONCE = 1000
_ID = re.compile(r"i-[0-9a-f]+")
# Kind → (call, name of its argument).
_REMOVALS = {
    "address": ("release_address", "AllocationId"),
    "volume": ("delete_volume", "VolumeId"),
    "network interface": ("delete_network_interface", "NetworkInterfaceId"),
    "placement group": ("delete_placement_group", "GroupName"),
    "key pair": ("delete_key_pair", "KeyName"),
    "security group": ("delete_security_group", "GroupId"),
    schedules.KIND: ("delete_schedule", "Name"),
}
_MISSING = (".NotFound", ".Unknown", "ResourceNotFoundException")
_IN_USE = frozenset(
    (
        "DependencyViolation",
        "VolumeInUse",
        "IncorrectState",
        "InvalidPlacementGroup.InUse",
        "InvalidParameterValue",
    )
)


def terminate(
    aws: Aws, instances: Iterable[Instance], *, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Ask AWS to end these; what is gone already is no error."""
    by_region: dict[str, list[str]] = {}
    for instance in instances:
        if not instance.is_gone:
            by_region.setdefault(instance.region, []).append(instance.id)
    terminate_all(aws, by_region, sleep=sleep)


def terminate_all(
    aws: Aws, ids: Mapping[str, Sequence[str]], *, sleep: Callable[[float], None] = time.sleep
) -> None:
    """As `terminate`, by region."""
    for region, there in ids.items():
        for at in range(0, len(there), _AT_ONCE):
            _terminate(aws, region, list(there[at : at + _AT_ONCE]), sleep)


def _terminate(aws: Aws, region: str, ids: list[str], sleep: Callable[[float], None]) -> None:
    """Those that AWS does not know are tried again while they may be new."""
    ends_at = time.monotonic() + api.VISIBLE_WITHIN_S
    while ids := _unknown(aws, region, ids):
        if time.monotonic() > ends_at:
            return
        sleep(_FIRST_PAUSE_S)


def _unknown(aws: Aws, region: str, ids: list[str]) -> list[str]:
    """The ids of which AWS knows nothing; one of them makes it refuse all, so the others are asked anew."""
    todo, unknown = ids, list[str]()
    while todo:
        try:
            aws.asked(region, "terminate_instances", InstanceIds=todo)
            return unknown
        except AwsError as error:
            if error.code != "InvalidInstanceID.NotFound":
                raise
            named = set(_ID.findall(str(error))) & set(todo) or set(todo)
            unknown += sorted(named)
            todo = [each for each in todo if each not in named]
    return unknown


def await_ended(
    find: Callable[[], Sequence[Instance]],
    ids: Iterable[str],
    *,
    ended: Callable[[Instance], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Until a describe call shows each of them as terminated, or twice not at all."""
    waiting, missed = set(ids), dict[str, int]()
    ends_at = time.monotonic() + _ENDED_WITHIN_S
    pause_s = _FIRST_PAUSE_S
    while waiting:
        shown = {instance.id: instance for instance in find()}
        for each in sorted(waiting):
            instance = shown.get(each)
            if instance is None:
                missed[each] = missed.get(each, 0) + 1
            elif instance.state == "terminated":
                ended(instance)
                waiting.discard(each)
            if missed.get(each, 0) >= 2:
                waiting.discard(each)
        if waiting and time.monotonic() > ends_at:
            raise ProviderError(
                f"after {_ENDED_WITHIN_S:g} s these instances have not ended: {', '.join(sorted(waiting))}",
                hint="`cloister destroy` again; termination protection must be switched off by hand",
            )
        if waiting:
            sleep(pause_s)
            pause_s = min(1.5 * pause_s, _PAUSE_S_MAX)


_MADE = {
    "create_security_group": "security group",
    "import_key_pair": "key pair",
    "create_placement_group": "placement group",
}


class Seen:
    """What a destroy has seen of what the journal says was made: the rest may only not be visible yet."""

    def __init__(self) -> None:
        self._marks: set[tuple[str, str]] = set()

    def note(self, instances: Iterable[Instance], things: Iterable[Thing]) -> None:
        self._marks |= {("run_instances", instance.token) for instance in instances}
        for thing in things:
            # A region has one group of the cluster, and its id is not known before the call.
            name = "" if thing.kind == "security group" else thing.mark or thing.id
            self._marks.add((f"{thing.kind} {thing.region}", name))

    def missing(self, intents: Iterable[Intent]) -> list[Intent]:
        return [intent for intent in intents if self._mark(intent) not in self._marks]

    def _mark(self, intent: Intent) -> tuple[str, str]:
        if intent.action == "run_instances":
            return intent.action, str(intent.request["ClientToken"])
        if intent.action == "create_volume":
            marks = intent.request["TagSpecifications"][0]
            return f"volume {intent.region}", tags_of(marks)[tags.SWAP]
        kind = _MADE[intent.action]
        key = "KeyName" if kind == "key pair" else "GroupName"
        name = "" if kind == "security group" else str(intent.request[key])
        return f"{kind} {intent.region}", name


def foreign_users(aws: Aws, thing: Thing) -> list[str]:
    """Who uses a security group that is to go, and is not cloister's: it will not go by itself."""
    if thing.kind != "security group":
        return []
    inside = [{"Name": "group-id", "Values": [thing.id]}]
    referring = [{"Name": "ip-permission.group-id", "Values": [thing.id]}]
    interfaces = aws.pages(
        thing.region, "describe_network_interfaces", "NetworkInterfaces", Filters=inside
    )
    groups = aws.pages(
        thing.region, "describe_security_groups", "SecurityGroups", Filters=referring
    )
    return [
        (entry.get("Attachment") or {}).get("InstanceId")
        or f"network interface {entry['NetworkInterfaceId']}"
        for entry in interfaces
        if CLUSTER not in tags_of(entry)
    ] + [
        f"a rule of security group {entry['GroupId']}"
        for entry in groups
        if CLUSTER not in tags_of(entry)
    ]


def remove(aws: Aws, thing: Thing, removed: set[Thing]) -> bool:
    """Remove it; False if something still uses it.

    removed: what this has removed before, although a describe call may still have shown it.
    """
    call, argument = _REMOVALS[thing.kind]
    service = schedules.SERVICE if thing.kind == schedules.KIND else "ec2"
    try:
        aws.asked(thing.region, call, service=service, **{argument: thing.id})
    except AwsError as error:
        if error.code in _IN_USE:
            return False
        gone = error.may_mean_gone or (error.code in DENIED and thing in removed)
        if not gone and not error.code.endswith(_MISSING):
            raise
    removed.add(thing)
    return True
