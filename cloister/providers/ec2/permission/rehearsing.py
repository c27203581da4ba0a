"""Every call that a configuration needs, tried in each of its regions without doing anything.

What only reads is called. What changes something is asked with DryRun, which AWS answers with
DryRunOperation, or UnauthorizedOperation.
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html

Before there is a cluster, calls that change one are tried on ids of nothing. AWS does not document what it
looks at first. If it looks for the thing, it answers NotFound, which counts as permitted: no more can be
known. If it looks at the permissions, a policy that asks for cloister's tag, as that in docs/iam does, denies
what does not exist as well. So when all of these calls are denied, nothing is known of them; when only
some are, those are denied indeed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from cloister.config.spec import ClusterSpec
from cloister.errors import ProviderError
from cloister.plan.observed import Node
from cloister.providers.ec2 import tags
from cloister.providers.ec2.api import DENIED, Aws, AwsError
from cloister.providers.ec2.image.images import user_of
from cloister.providers.ec2.launch.batches import (
    Batch,
    Rung,
    Site,
    batches,
    ladder,
    machine_of,
    request,
)
from cloister.providers.ec2.launch.sites import ground, roles_by_region
from cloister.providers.ec2.money.quotas import checked_quotas
from cloister.providers.ec2.permission.dry_requests import (
    DEFAULT_VPC,
    NOTHING,
    Scene,
    dry_request,
    or_nothing,
)
from cloister.providers.ec2.permission.permissions import Call, needed_calls, statements
from cloister.providers.ec2.tags import Identity
from cloister.providers.provider import Checked

Verdict = Literal["permitted", "denied", "unknown", "failed", "not tried"]
_AT_ONCE = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tried:
    """about_nothing: it was tried on an id that nothing has."""

    call: Call
    region: str
    verdict: Verdict
    detail: str = ""
    about_nothing: bool = False


def checkup(aws: Aws, spec: ClusterSpec, planned: Callable[[], Sequence[Node]]) -> list[Checked]:
    """Who is asking, what that identity may do, and whether the quotas suffice; creates nothing.

    planned: the nodes, each in its region.
    """
    try:
        caller = _caller(aws, spec)
        nodes = planned()
        identity = Identity(
            name=spec.name,
            uid=f"{spec.name}.rehearsal",
            expires=int(time.time() + spec.ec2.lease),
            home=aws.region,
        )
        found = rehearse(aws, spec, nodes, identity)
        return [caller, *folded(found), *checked_quotas(aws, spec, nodes)]
    except ProviderError as error:
        return [Checked(what="AWS", ok=False, found=error.message, mend=error.hint)]


def _caller(aws: Aws, spec: ClusterSpec) -> Checked:
    reply = aws.asked(aws.region, "get_caller_identity", service="sts")
    profile = spec.ec2.profile or os.environ.get("AWS_PROFILE")
    return Checked(
        what="AWS identity",
        ok=True,
        found=f"{reply['Arn']}, account {reply['Account']}, credentials from {aws.origin}"
        + (f", profile {profile}" if profile else "")
        + f", region {aws.region}",
    )


def rehearse(aws: Aws, spec: ClusterSpec, nodes: Sequence[Node], identity: Identity) -> list[Tried]:
    """nodes: as planned, each in its region. Credentials if they are no longer valid."""
    roles = roles_by_region(nodes)

    def in_region(region: str) -> list[Tried]:
        scene = _scene(aws, spec, identity, region, roles.get(region, []))
        here = [node for node in nodes if node.region == region]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            calls = needed_calls(spec)
            return _doubted(list(pool.map(lambda call: _tried(aws, scene, call, here), calls)))

    regions = list(roles) or [identity.home]
    with ThreadPoolExecutor(len(regions)) as pool:
        return [tried for each in pool.map(in_region, regions) for tried in each]


def _doubted(found: Sequence[Tried]) -> list[Tried]:
    """Of what was tried on nothing, as the head of this module says."""
    uncertain = [one for one in found if one.about_nothing]
    if any(one.verdict == "permitted" for one in uncertain):
        return list(found)
    return [
        dataclasses.replace(one, verdict="unknown")
        if one.about_nothing and one.verdict == "denied"
        else one
        for one in found
    ]


# --- the scene -----------------------------------------------------------------------------------


def _scene(
    aws: Aws,
    spec: ClusterSpec,
    identity: Identity,
    region: str,
    roles: Iterable[str],
) -> Scene:
    ours = tags.of_cluster(spec.name)
    reservations = _seen(aws, region, "describe_instances", "Reservations", Filters=ours)
    living = [
        instance
        for reservation in reservations
        for instance in reservation["Instances"]
        if instance["State"]["Name"] in ("pending", "running")
    ]
    interfaces = [i["NetworkInterfaceId"] for one in living for i in one["NetworkInterfaces"]]
    groups = _seen(aws, region, "describe_security_groups", "SecurityGroups", Filters=ours)
    volumes = _seen(aws, region, "describe_volumes", "Volumes", Filters=ours)
    keys = _seen(aws, region, "describe_key_pairs", "KeyPairs", Filters=ours)
    placements = _seen(aws, region, "describe_placement_groups", "PlacementGroups", Filters=ours)
    vpcs = _seen(aws, region, "describe_vpcs", "Vpcs", Filters=DEFAULT_VPC)
    machines = dict.fromkeys(kind for role in roles for kind in machine_of(spec, role).machines)
    return Scene(
        spec=spec,
        identity=identity,
        region=region,
        machines=tuple(machines),
        vpc=spec.ec2.vpc or or_nothing([entry["VpcId"] for entry in vpcs], "vpc"),
        group=or_nothing([entry["GroupId"] for entry in groups], "sg"),
        instance=or_nothing([one["InstanceId"] for one in living], "i"),
        interface=or_nothing(interfaces, "eni"),
        volume=or_nothing([entry["VolumeId"] for entry in volumes], "vol"),
        **_images(aws, spec, region),
        key_pair=or_nothing([entry["KeyName"] for entry in keys], "key"),
        placement_group=or_nothing([entry["GroupName"] for entry in placements], "pg"),
    )


def _images(aws: Aws, spec: ClusterSpec, region: str) -> dict[str, str]:
    baked: list[Any] = []
    snapshots: list[Any] = []
    if spec.ec2.development:
        marked = [{"Name": "tag-key", "Values": [tags.IMAGE]}]
        baked = _seen(aws, region, "describe_images", "Images", Owners=["self"], Filters=marked)
        snapshots = _seen(
            aws, region, "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=marked
        )
    return {
        "image": or_nothing([entry["ImageId"] for entry in baked], "ami"),
        "snapshot": or_nothing([entry["SnapshotId"] for entry in snapshots], "snap"),
    }


def _seen(aws: Aws, region: str, action: str, key: str, **parameters: Any) -> list[Any]:
    """Nothing where this identity may not look: that is found out apart."""
    try:
        return list(aws.pages(region, action, key, **parameters))
    except AwsError:
        return []


# --- one call ------------------------------------------------------------------------------------


def _tried(aws: Aws, scene: Scene, call: Call, nodes: Sequence[Node]) -> Tried:
    if call.permission == "ec2:RunInstances":
        verdict, detail = _launch_tried(aws, scene, nodes)
        return Tried(call=call, region=scene.region, verdict=verdict, detail=detail)
    asked = dry_request(call, scene)
    if asked is None:
        return Tried(call=call, region=scene.region, verdict="not tried")
    verdict, detail = "permitted", ""
    try:
        aws.asked(asked.region, asked.action, service=asked.service, **asked.parameters)
    except AwsError as error:
        verdict, detail = _verdict(error)
    return Tried(
        call=call,
        region=scene.region,
        verdict=verdict,
        detail=detail,
        about_nothing=bool(call.changes) and asked.is_about_nothing,
    )


def _verdict(error: AwsError) -> tuple[Verdict, str]:
    if error.code in DENIED:
        return "denied", error.reason
    if error.code == "DryRunOperation" or error.code.endswith((".NotFound", ".Unknown")):
        return "permitted", ""
    return "failed", error.message


def _launch_tried(aws: Aws, scene: Scene, nodes: Sequence[Node]) -> tuple[Verdict, str]:
    """With the requests that a launch would make, one for each role."""
    try:
        for parameters in _launch_requests(aws, scene, nodes):
            try:
                aws.asked(scene.region, "run_instances", **parameters, DryRun=True)
            except AwsError as error:
                verdict, detail = _verdict(error)
                if verdict != "permitted":
                    return verdict, detail
    except AwsError as error:
        if error.code not in DENIED:
            return "failed", error.message
        return "not tried", ""
    except ProviderError as error:
        return "failed", f"{error.message} ({error.hint})" if error.hint else error.message
    return "permitted", ""


def _launch_requests(aws: Aws, scene: Scene, nodes: Sequence[Node]) -> Iterator[dict[str, Any]]:
    roles = roles_by_region(nodes).get(scene.region, [])
    base = ground(aws, scene.spec, scene.region, roles) if roles else None
    if base is None:
        return
    site = Site(
        region=scene.region,
        vpc=base.vpc,
        groups=(_group_for_launch(aws, scene, base.vpc), *scene.spec.ec2.security_groups),
        key_pair=scene.spec.ec2.key_pair or "",
        zones=base.zones,
        subnets=base.subnets,
        offered=base.offered,
        images=base.images,
        placement_groups={},
    )
    for role, batch in {batch.role: batch for batch in reversed(batches(nodes))}.items():
        rungs = ladder(machine_of(scene.spec, role), site)
        if not rungs:
            raise ProviderError(f"{batch}: no zone of {scene.region} has what is asked for")
        yield _as_launched(scene, batch, rungs[0], site)


def _as_launched(scene: Scene, batch: Batch, rung: Rung, site: Site) -> dict[str, Any]:
    """Without a key and a placement group that a launch makes before: AWS refuses what names missing ones."""
    made = request(
        batch,
        rung,
        cluster=scene.spec,
        site=site,
        identity=scene.identity,
        user=scene.spec.ssh.user or user_of(machine_of(scene.spec, batch.role).image),
        attempt=0,
    )
    # Nor with its token, because this is another request than a launch's.
    left_out = {"ClientToken"} if site.key_pair else {"ClientToken", "KeyName"}
    return {key: value for key, value in made.items() if key not in left_out}


def _group_for_launch(aws: Aws, scene: Scene, vpc: str) -> str:
    """The cluster's group, or that which every VPC has."""
    if not scene.group.endswith(NOTHING):
        return scene.group
    filters = [
        {"Name": "vpc-id", "Values": [vpc]},
        {"Name": "group-name", "Values": ["default"]},
    ]
    entries = aws.pages(scene.region, "describe_security_groups", "SecurityGroups", Filters=filters)
    return next((str(entry["GroupId"]) for entry in entries), scene.group)


# --- what is said of it --------------------------------------------------------------------------

_WHAT = "AWS calls"
_WHY_OPEN: tuple[tuple[Verdict, str], ...] = (
    (
        "unknown",
        "AWS may refuse them only because what they are about is not there yet, if the policy asks for its tag;"
        " look again after `cloister launch`",
    ),
    ("not tried", "they cannot be tried without doing them, or not without what is denied"),
)


def folded(found: Sequence[Tried]) -> list[Checked]:
    """A line for all that is permitted in a region, one for each call that is not."""
    lines = []
    for region in dict.fromkeys(one.region for one in found):
        here = [one for one in found if one.region == region]
        count = sum(1 for one in here if one.verdict == "permitted")
        lines.append(Checked(what=_WHAT, ok=True, found=f"{count} calls permitted in {region}"))
    bad: dict[tuple[str, str, str], list[Tried]] = {}
    for one in found:
        if one.verdict in ("denied", "failed"):
            detail = one.detail if one.verdict == "failed" else ""
            bad.setdefault((one.call.permission, one.verdict, detail), []).append(one)
    lines += [_bad(group) for group in bad.values()]
    return [*lines, *_open(found)]


def _bad(group: Sequence[Tried]) -> Checked:
    first = group[0]
    where = ", ".join(one.region for one in group)
    if first.verdict == "failed":
        return Checked(
            what=first.call.permission, ok=False, found=f"fails in {where}: {first.detail}"
        )
    parts = statements([first.call])
    statement = json.dumps(parts[0] if len(parts) == 1 else parts)
    return Checked(
        what=first.call.permission,
        ok=False,
        found=f"denied in {where}; needed to {first.call.why}. AWS says: {first.detail}",
        mend=f"have this added to the policy of this identity, or all of docs/iam: {statement}",
    )


def _open(found: Sequence[Tried]) -> Iterator[Checked]:
    """What is not known."""
    for verdict, why in _WHY_OPEN:
        kinds = dict.fromkeys(one.call.permission for one in found if one.verdict == verdict)
        if kinds:
            yield Checked(what=_WHAT, ok=None, found=f"{verdict}: {', '.join(kinds)}: {why}")
