"""All that carries cloister's tags in an account, whosever cluster it is of, and the removal of what nobody needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cloister.plan.garbage import INSTANCE, Belonging, Holdings
from cloister.plan.images import ObservedImages
from cloister.providers.ec2 import observing, tags
from cloister.providers.ec2.api import DENIED, Aws, AwsError
from cloister.providers.ec2.end import removing
from cloister.providers.ec2.image.own_images import observed_images
from cloister.providers.ec2.lease import schedules
from cloister.providers.ec2.observing import GONE, KINDS, Thing
from cloister.providers.ec2.tags import tags_of

_AT_ONCE = 16
_REMOVE_WITHIN_S = 600.0
_FIRST_PAUSE_S, _PAUSE_S_MAX = 0.2, 5.0
_ADDRESS = ("address", "describe_addresses", "Addresses", "AllocationId")
_ORDER = [INSTANCE, "address", *(kind for kind, *_ in KINDS), schedules.KIND]


def look_at(aws: Aws, regions: Sequence[str]) -> Holdings:
    """Creates nothing. Regions that are denied are told apart."""

    def look(region: str) -> tuple[list[Belonging], list[ObservedImages], str]:
        try:
            return _belongings(aws, region), observed_images(aws, [region], []), ""
        except AwsError as error:
            if error.code not in DENIED:
                raise
            return [], [], error.message

    with ThreadPoolExecutor(min(_AT_ONCE, max(1, len(regions)))) as pool:
        seen = dict(zip(regions, pool.map(look, regions), strict=True))
    return Holdings(
        things=tuple(thing for found, _, _ in seen.values() for thing in found),
        images=tuple(entry for _, found, _ in seen.values() for entry in found),
        unseen={region: why for region, (_, _, why) in seen.items() if why},
    )


def remove_all(
    aws: Aws,
    chosen: Iterable[Belonging],
    *,
    removed: Callable[[Belonging], None],
    sleep: Callable[[float], None] = time.sleep,
) -> list[Belonging]:
    """Instances, and when they have ended the rest; what others remove meanwhile is no error. What is left.

    `removed` is told of each that is gone.
    """
    todo = sorted(chosen, key=lambda thing: _ORDER.index(thing.kind))
    _end(aws, [thing for thing in todo if thing.kind == INSTANCE], removed, sleep)
    left = [thing for thing in todo if thing.kind != INSTANCE]
    before: set[Thing] = set()
    ends_at = time.monotonic() + _REMOVE_WITHIN_S
    pause_s = _FIRST_PAUSE_S
    while left:
        used = [thing for thing in left if not removing.remove(aws, _thing(thing), before)]
        for thing in left:
            if thing not in used:
                removed(thing)
        left = used
        if left and time.monotonic() > ends_at:
            return left
        if left:
            # A group is in use until AWS has forgotten the instances that had it.
            sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_S_MAX)
    return left


def _end(
    aws: Aws,
    instances: Sequence[Belonging],
    removed: Callable[[Belonging], None],
    sleep: Callable[[float], None],
) -> None:
    by_region: dict[str, list[str]] = {}
    for thing in instances:
        by_region.setdefault(thing.region, []).append(thing.id)
    removing.terminate_all(aws, by_region, sleep=sleep)
    ids = [thing.id for thing in instances]
    removing.await_ended(
        lambda: observing.instances(aws, None, by_region), ids, ended=lambda one: None, sleep=sleep
    )
    for thing in instances:
        removed(thing)


def _thing(thing: Belonging) -> Thing:
    return Thing(kind=thing.kind, id=thing.id, region=thing.region, identity=None)


# --- looking -------------------------------------------------------------------------------------


def _belongings(aws: Aws, region: str) -> list[Belonging]:
    ours = tags.of_cluster(None)
    reservations = aws.pages(
        region, "describe_instances", "Reservations", Filters=ours, MaxResults=1000
    )
    found = [
        _belonging(INSTANCE, "InstanceId", region, entry)
        for reservation in reservations
        for entry in reservation["Instances"]
        if entry["State"]["Name"] not in GONE
    ]
    for kind, call, key, id_key, filters in [(*_ADDRESS, []), *KINDS]:
        found += [
            _belonging(kind, id_key, region, entry)
            for entry in aws.pages(region, call, key, Filters=[*ours, *filters])
            if entry.get("State") not in ("deleting", "deleted")
        ]
    return [*found, *_schedules(aws, region)]


def _belonging(kind: str, id_key: str, region: str, entry: Mapping[str, Any]) -> Belonging:
    marks = tags_of(entry)
    expires = marks.get(tags.EXPIRES, "")
    created = entry.get("LaunchTime") or entry.get("CreateTime")
    return Belonging(
        kind=kind,
        id=entry[id_key],
        region=region,
        cluster=marks.get(tags.CLUSTER, ""),
        uid=marks.get(tags.UID, ""),
        expires=int(expires) if expires.isdigit() else 0,
        created=created.timestamp() if created else None,
        claim=kind == "security group" and marks.get(tags.HOME) == region,
    )


def _schedules(aws: Aws, region: str) -> list[Belonging]:
    """Their names have the uid of a cluster; others of ours have no dot in them."""
    return [
        Belonging(
            kind=schedules.KIND,
            id=name,
            region=region,
            cluster=name.removeprefix(schedules.PREFIX).rpartition(".")[0],
            uid=name.removeprefix(schedules.PREFIX),
            expires=0,
            created=created,
        )
        for name, created in schedules.listed(aws, region, schedules.PREFIX)
        if "." in name
    ]
