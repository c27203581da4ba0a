"""What carries the cluster's tags in these regions right now."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cloister.plan.observed import EXPIRES, Node, Observed, ObservedNode, State
from cloister.providers.ec2 import tags
from cloister.providers.ec2.api import DENIED, Aws, AwsError
from cloister.providers.ec2.tags import Identity, identity_of, tags_of

_CALLS_AT_ONCE = 16
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
_BY_ORGANISATION = "service control policy"
_ENDED = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) GMT\)")
_STATES: Mapping[str, State] = {
    "pending": "starting",
    "running": "running",
    "stopping": "dead",
    "stopped": "dead",
}
_NO_ROLE = "unknown"
GONE = ("shutting-down", "terminated")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instance:
    id: str
    region: str
    state: str
    roles: tuple[str, ...]
    number: int
    address: str
    private_address: str
    zone: str
    machine: str
    image: str
    spot: bool
    launched: float
    ended: float | None
    user: str
    port: int | None
    token: str
    why: str
    identity: Identity | None
    cluster: str = ""
    owner: str = ""

    @property
    def name(self) -> str:
        return f"{self.roles[0]}{self.number}"

    @property
    def is_gone(self) -> bool:
        return self.state in GONE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thing:
    """A resource that is no instance: `kind` as a person calls it.

    mark: of a volume for swap, the instance that it was made for.  cluster: as its tag says.
    """

    kind: str
    id: str
    region: str
    identity: Identity | None
    mark: str = ""
    cluster: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.id} ({self.region})"


def instances(
    aws: Aws, name: str | None, regions: Iterable[str], *filters: Mapping[str, Any]
) -> list[Instance]:
    """All of them, the ones that are gone too as long as AWS shows them; oldest first.

    name: None for those of every cluster.  filters: of DescribeInstances, to have only some of them.
    """
    wanted = [*tags.of_cluster(name), *filters]
    return in_order(_in_each(regions, lambda region: _instances(aws, wanted, region)))


def living_ones(found: Iterable[Instance]) -> list[Instance]:
    """Those that are neither ended nor about to."""
    return [instance for instance in found if not instance.is_gone]


def in_order(found: Iterable[Instance]) -> list[Instance]:
    """Oldest first."""
    return sorted(found, key=lambda instance: (instance.launched, instance.id))


def all_regions(aws: Aws) -> list[str]:
    """Those that the account has enabled."""
    reply = aws.asked(aws.region, "describe_regions")
    return sorted(entry["RegionName"] for entry in reply["Regions"])


def regions_with(
    aws: Aws, name: str | None, regions: Iterable[str], *, pass_over: bool = False
) -> list[str]:
    """Those in which something carries the tag of the cluster, or of any: one call for each region.

    pass_over: regions that this identity may not look at. Those that an organisation forbids always are:
    nobody can have anything there.
    """
    filters = [{"Name": "key", "Values": [tags.CLUSTER]}]
    if name is not None:
        filters.append({"Name": "value", "Values": [name]})

    def found(region: str) -> list[str]:
        # One is enough, and there may be thousands.
        tagged = aws.pages(region, "describe_tags", "Tags", Filters=filters, MaxResults=5)
        try:
            return [region] if any(True for _ in tagged) else []
        except AwsError as error:
            if error.code in DENIED and (pass_over or _BY_ORGANISATION in error.message):
                return []
            raise

    return _in_each(regions, found)


def things(
    aws: Aws, name: str | None, regions: Iterable[str], *, attached: bool = False
) -> list[Thing]:
    """Groups, keys, placement groups, and volumes and interfaces that no instance has.

    In the order in which they can be removed.  attached: also volumes that one has, or had a moment ago.
    """
    asked = itertools.product(dict.fromkeys(regions), KINDS)
    return _at_once(list(asked), lambda each: _things(aws, name, *each, attached=attached))


def groups(aws: Aws, name: str, regions: Iterable[str]) -> list[Thing]:
    """Security groups: who the cluster is and when its lease ends is told by that of its home region."""
    return _in_each(regions, lambda region: _things(aws, name, region, _GROUP, attached=False))


def observed(
    name: str, found: Sequence[Instance], rest: Sequence[Thing], *, key: str | None, region: str
) -> Observed:
    """`key` is the private key file of the cluster, if it is here; `region` that for nodes without one."""
    living = chosen([instance for instance in found if not instance.is_gone])
    carriers: list[Instance | Thing] = [*living.values(), *rest]
    identities = [entry.identity for entry in carriers if entry.identity]
    nodes = sorted(living.values(), key=lambda instance: (instance.roles, instance.number))
    return Observed(
        name=name,
        provider="ec2",
        uid=identities[0].uid if identities else "",
        expires=max((identity.expires for identity in identities), default=None),
        nodes=tuple(_observed_node(instance, key) for instance in nodes),
        leftovers=tuple(str(thing) for thing in rest),
        region=region,
    )


def chosen(living: Sequence[Instance]) -> dict[str, Instance]:
    """By name; of several of one name the oldest, which `surplus` leaves."""
    by_name: dict[str, Instance] = {}
    for instance in living:
        by_name.setdefault(instance.name, instance)
    return by_name


def fitting(found: Iterable[Instance], wanted: Mapping[str, str]) -> list[Instance]:
    """Those that are to be there. wanted: node → its region."""
    return [instance for instance in found if wanted.get(instance.name) == instance.region]


def surplus(living: Sequence[Instance], wanted: Mapping[str, str]) -> list[Instance]:
    """Instances that are not wanted, or whose name another one has: made by launches that did not know of
    each other, or by one that was killed before the configuration changed."""
    kept = {instance.id for instance in chosen(fitting(living, wanted)).values()}
    return [instance for instance in living if instance.id not in kept]


def _observed_node(instance: Instance, key: str | None) -> ObservedNode:
    node = Node(
        name=instance.name,
        roles=instance.roles,
        number=instance.number,
        address=instance.address,
        private_address=instance.private_address,
        user=instance.user,
        port=instance.port,
        key=key,
        region=instance.region,
        labels=_labels(instance),
        port_space=instance.id,
    )
    state = _STATES.get(instance.state, "dead")
    if state == "running" and not instance.address:
        state = "starting"
    return ObservedNode(node=node, state=state, detail=_detail(instance))


def _labels(instance: Instance) -> dict[str, object]:
    return {
        "zone": instance.zone,
        "machine": instance.machine,
        "market": "spot" if instance.spot else "on-demand",
        "image": instance.image,
        "instance": instance.id,
        EXPIRES: instance.identity.expires if instance.identity else 0,
    }


def _detail(instance: Instance) -> str:
    text = instance.id
    if instance.state not in ("pending", "running"):
        text += f" is {instance.state}"
    return f"{text}: {instance.why}" if instance.why else text


def _in_each(regions: Iterable[str], work: Callable[[str], list[Any]]) -> list[Any]:
    return _at_once(list(dict.fromkeys(regions)), work)


def _at_once(asked: Sequence[Any], work: Callable[[Any], list[Any]]) -> list[Any]:
    """What is found for each, one after the other."""
    if len(asked) <= 1:
        return [entry for each in asked for entry in work(each)]
    with ThreadPoolExecutor(min(_CALLS_AT_ONCE, len(asked))) as pool:
        return [entry for found in pool.map(work, asked) for entry in found]


def _instances(aws: Aws, filters: Sequence[Mapping[str, Any]], region: str) -> list[Instance]:
    pages = aws.pages(
        region, "describe_instances", "Reservations", Filters=filters, MaxResults=1000
    )
    return [instance for reservation in pages for instance in in_reservation(reservation, region)]


def in_reservation(reservation: Mapping[str, Any], region: str) -> list[Instance]:
    """As DescribeInstances and RunInstances tell of those that were launched together."""
    owner = str(reservation.get("OwnerId", ""))
    return [_instance(entry, region, owner) for entry in reservation["Instances"]]


def _instance(entry: Mapping[str, Any], region: str, owner: str) -> Instance:
    marks = tags_of(entry)
    # Whatever carries the cluster's tag costs money and is found, also with tags that somebody changed.
    roles = tuple(marks.get(tags.ROLES, _NO_ROLE).split(","))
    first = marks.get(tags.FIRST, "")
    number = int(entry.get("AmiLaunchIndex", 0)) + (int(first) if first.isdigit() else 0)
    return Instance(
        id=entry["InstanceId"],
        region=region,
        state=entry["State"]["Name"],
        roles=roles,
        number=number,
        address=entry.get("PublicIpAddress") or "",
        private_address=entry.get("PrivateIpAddress") or "",
        zone=entry.get("Placement", {}).get("AvailabilityZone", ""),
        machine=entry.get("InstanceType", ""),
        image=entry.get("ImageId", ""),
        spot=entry.get("InstanceLifecycle") == "spot",
        launched=entry["LaunchTime"].timestamp(),
        ended=_ended(entry),
        user=marks.get(tags.USER, ""),
        port=int(marks[tags.PORT]) if marks.get(tags.PORT) else None,
        token=entry.get("ClientToken", ""),
        why=(entry.get("StateReason") or {}).get("Message", ""),
        identity=identity_of(entry),
        cluster=marks.get(tags.CLUSTER, ""),
        owner=owner,
    )


def _ended(entry: Mapping[str, Any]) -> float | None:
    """When somebody or something ended it, as far as AWS says: "User initiated (2026-01-31 12:00:00 GMT)"."""
    if entry["State"]["Name"] not in GONE:
        return None
    found = _ENDED.search(entry.get("StateTransitionReason") or "")
    if found is None:
        return None
    moment = datetime.datetime.strptime(found.group(1), "%Y-%m-%d %H:%M:%S")
    return moment.replace(tzinfo=datetime.UTC).timestamp()


_UNATTACHED = [{"Name": "status", "Values": ["available"]}]
# A volume that is being made is not available yet.
_NOT_IN_USE = [{"Name": "status", "Values": ["available", "creating", "error"]}]
# Kind, call, key of the reply, key of the id, further filters.
_Kind = tuple[str, str, str, str, list[dict[str, Any]]]
_GROUP: _Kind = ("security group", "describe_security_groups", "SecurityGroups", "GroupId", [])
KINDS: tuple[_Kind, ...] = (
    ("volume", "describe_volumes", "Volumes", "VolumeId", _NOT_IN_USE),
    (
        "network interface",
        "describe_network_interfaces",
        "NetworkInterfaces",
        "NetworkInterfaceId",
        _UNATTACHED,
    ),
    ("placement group", "describe_placement_groups", "PlacementGroups", "GroupName", []),
    ("key pair", "describe_key_pairs", "KeyPairs", "KeyName", []),
    _GROUP,
)


def _things(
    aws: Aws, name: str | None, region: str, wanted: _Kind, *, attached: bool
) -> list[Thing]:
    kind, call, key, id_key, filters = wanted
    narrowed = [] if attached and kind == "volume" else filters
    return [
        Thing(
            kind=kind,
            id=entry[id_key],
            region=region,
            identity=identity_of(entry),
            mark=tags_of(entry).get(tags.SWAP, ""),
            cluster=tags_of(entry).get(tags.CLUSTER, ""),
        )
        for entry in aws.pages(region, call, key, Filters=[*tags.of_cluster(name), *narrowed])
        if entry.get("State") not in ("deleting", "deleted")
    ]
