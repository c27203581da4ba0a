"""The calls that cloister makes of AWS, what for, and the least that an identity must be permitted for them; pure.

Which action is about which kinds of resources, and which conditions they know, is in AWS's own tables:
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
`docs/iam/` holds the policies that come out of here, and a test compares them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from cloister.config.spec import ClusterSpec
from cloister.providers.ec2.launch.batches import machine_of
from cloister.providers.ec2.tags import CLUSTER, EXPIRES, IMAGE

Need = Literal[
    "always",
    "spot",
    "parameter",
    "placement",
    "profile",
    "schedule",
    "swap",
    "development",
    "key",
    "collection",
]
Statement = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """One call and what it touches, by kind of EC2 resource.

    makes: new resources, which carry `tag` from that call on; changes: only those that carry it;
    uses: anybody's.  keys: the only tags that may be written.  arns: resources of other services.
    passes_to: the service to which a role is handed on.
    """

    permission: str
    why: str
    needed: Need = "always"
    makes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    tag: str = CLUSTER
    keys: tuple[str, ...] = ()
    arns: tuple[str, ...] = ()
    passes_to: str = ""

    @property
    def service(self) -> str:
        return self.permission.partition(":")[0]

    @property
    def action(self) -> str:
        return self.permission.partition(":")[2]

    @property
    def reads(self) -> bool:
        return self.action.startswith(("Describe", "Get", "List"))


def _look(action: str, why: str, needed: Need = "always") -> Call:
    return Call(permission=f"ec2:{action}", why=why, needed=needed)


_ROLE = "arn:aws:iam::*:role/"
_SCHEDULES = ("arn:aws:scheduler:*:*:schedule/default/cloister-*",)

CALLS: tuple[Call, ...] = (
    _look("DescribeRegions", "find a cluster wherever it is"),
    _look("DescribeVpcs", "choose the network"),
    _look("DescribeSubnets", "choose the zones"),
    _look("DescribeInstanceTypes", "choose the image's architecture"),
    _look("DescribeInstanceTypeOfferings", "choose zones that have the machine type"),
    _look("DescribeImages", "find the image"),
    _look("DescribeInstances", "see the nodes"),
    _look("DescribeTags", "find what is left of a cluster"),
    _look("DescribeVolumes", "find volumes that are left"),
    _look("DescribeNetworkInterfaces", "find network interfaces that are left"),
    _look("DescribePlacementGroups", "find placement groups that are left"),
    _look("DescribeKeyPairs", "see whether the key is there"),
    _look("DescribeSecurityGroups", "see whether the cluster's group is there"),
    _look("DescribeSpotPriceHistory", "tell the price", "spot"),
    _look("DescribeSnapshots", "list images with their sizes", "development"),
    _look("DescribeAddresses", "find addresses that are left", "collection"),
    Call(permission="pricing:GetProducts", why="tell the price"),
    Call(permission="servicequotas:GetServiceQuota", why="compare the quotas in `doctor --aws`"),
    Call(
        permission="ssm:GetParameter",
        why="find the newest image of its publisher",
        needed="parameter",
        arns=("arn:aws:ssm:*::parameter/aws/service/*",),
    ),
    Call(
        permission="ec2:RunInstances",
        why="launch nodes",
        # The last one is looked at only when a spot request is tagged, as all of ours are.
        # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/concepts-spot-instances-request-tags.html
        makes=("instance", "volume", "network-interface", "spot-instances-request"),
        uses=("image", "subnet", "security-group", "key-pair", "placement-group"),
    ),
    Call(
        permission="ec2:CreateSecurityGroup",
        why="claim the cluster's name and give it a firewall",
        makes=("security-group",),
        uses=("vpc",),
    ),
    Call(
        permission="ec2:ImportKeyPair",
        why="let this machine log in",
        needed="key",
        makes=("key-pair",),
    ),
    Call(
        permission="ec2:CreatePlacementGroup",
        why="place nodes as the configuration says",
        needed="placement",
        makes=("placement-group",),
    ),
    Call(
        permission="ec2:AuthorizeSecurityGroupIngress",
        why="let this machine and the nodes in",
        changes=("security-group",),
    ),
    Call(
        permission="ec2:RevokeSecurityGroupIngress",
        why="shut out addresses that this machine had before",
        changes=("security-group",),
    ),
    Call(
        permission="ec2:CreateTags",
        why="prolong a lease",
        changes=("instance", "security-group"),
        keys=(EXPIRES,),
    ),
    Call(permission="ec2:TerminateInstances", why="end nodes", changes=("instance",)),
    Call(
        permission="ec2:DeleteSecurityGroup", why="destroy a cluster", changes=("security-group",)
    ),
    Call(
        permission="ec2:DeleteKeyPair",
        why="destroy a cluster",
        needed="key",
        changes=("key-pair",),
    ),
    Call(
        permission="ec2:DeletePlacementGroup",
        why="destroy a cluster",
        needed="placement",
        changes=("placement-group",),
    ),
    Call(
        permission="ec2:DeleteVolume",
        why="remove volumes that outlived their nodes",
        changes=("volume",),
    ),
    Call(
        permission="ec2:DeleteNetworkInterface",
        why="remove network interfaces that outlived their nodes",
        changes=("network-interface",),
    ),
    Call(
        permission="ec2:CreateVolume",
        why="make a volume for swap",
        needed="swap",
        makes=("volume",),
    ),
    Call(
        permission="ec2:AttachVolume",
        why="attach a volume for swap",
        needed="swap",
        changes=("instance", "volume"),
    ),
    Call(
        permission="ec2:ModifyInstanceAttribute",
        why="have the volume for swap end with its node",
        needed="swap",
        changes=("instance",),
    ),
    Call(
        permission="ec2:CreateImage",
        why="bake an image of the development instance",
        needed="development",
        makes=("image", "snapshot"),
        uses=("instance",),
        tag=IMAGE,
    ),
    Call(
        permission="ec2:DeregisterImage",
        why="remove old images",
        needed="development",
        changes=("image",),
        tag=IMAGE,
    ),
    Call(
        permission="ec2:DeleteSnapshot",
        why="remove the snapshots of old images",
        needed="development",
        changes=("snapshot",),
        tag=IMAGE,
    ),
    Call(
        permission="ec2:ReleaseAddress",
        why="remove addresses that are left",
        needed="collection",
        changes=("elastic-ip",),
    ),
    Call(
        permission="scheduler:ListSchedules",
        why="find schedules that are left",
        needed="schedule",
    ),
    Call(
        permission="scheduler:CreateSchedule",
        why="end nodes also if they do not end themselves",
        needed="schedule",
        arns=_SCHEDULES,
    ),
    Call(
        permission="scheduler:UpdateSchedule",
        why="end nodes later when the lease is prolonged",
        needed="schedule",
        arns=_SCHEDULES,
    ),
    Call(
        permission="scheduler:DeleteSchedule",
        why="destroy a cluster",
        needed="schedule",
        arns=_SCHEDULES,
    ),
    Call(
        permission="iam:PassRole",
        why="let EventBridge Scheduler take the schedule's role",
        needed="schedule",
        arns=(f"{_ROLE}cloister-schedule",),
        passes_to="scheduler.amazonaws.com",
    ),
    Call(
        permission="iam:PassRole",
        why="give nodes the instance profile's role",
        needed="profile",
        arns=(f"{_ROLE}cloister-node",),
        passes_to="ec2.amazonaws.com",
    ),
)


def needed_calls(spec: ClusterSpec) -> list[Call]:
    """Those that commands make for this configuration, from `plan` to `destroy`."""
    needs = {"always", *_needs(spec)}
    return [call for call in CALLS if call.needed in needs]


def _needs(spec: ClusterSpec) -> Iterable[Need]:
    machines = [machine_of(spec, role) for role in spec.roles]
    if any("spot" in machine.markets for machine in machines):
        yield "spot"
    images = [machine.image for machine in machines if machine.image]
    if any(image.family or (image.ami or "").startswith("resolve:") for image in images):
        yield "parameter"
    if any(machine.placement for machine in machines):
        yield "placement"
    if any(machine.swap for machine in machines):
        yield "swap"
    if not spec.ec2.key_pair:
        yield "key"
    if spec.ec2.instance_profile:
        yield "profile"
    if spec.ec2.schedule_role:
        yield "schedule"
    if spec.ec2.development:
        yield "development"


# --- policies ------------------------------------------------------------------------------------


def statements(calls: Sequence[Call]) -> list[Statement]:
    """The statements of a policy that permits these calls as cloister makes them, and little else."""
    return [
        *_reading(calls),
        *_making(calls),
        *_using(calls),
        *_changing(calls),
        *_elsewhere(calls),
    ]


def policy(calls: Sequence[Call] = CALLS) -> dict[str, Any]:
    return _document(statements(calls))


def schedule_role_policy() -> dict[str, Any]:
    """What the role that EventBridge Scheduler takes may do."""
    return _document(
        [_allow("EndNodes", ["ec2:TerminateInstances"], _arns(["instance"]), _carries(CLUSTER))]
    )


def schedule_role_trust(account: str) -> dict[str, Any]:
    """Who may take that role: EventBridge Scheduler, for schedules of this account.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html
    """
    return _document(
        [
            {
                "Sid": "SchedulesOfThisAccount",
                "Effect": "Allow",
                "Principal": {"Service": "scheduler.amazonaws.com"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"aws:SourceAccount": account}},
            }
        ]
    )


def _document(found: list[Statement]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": found}


def _reading(calls: Sequence[Call]) -> list[Statement]:
    plain = [call.permission for call in calls if call.reads and not call.arns]
    return [_allow("Look", plain, ["*"])] if plain else []


def _making(calls: Sequence[Call]) -> list[Statement]:
    """A resource is made with our tag or not at all; tags are written by the call that makes it."""
    found = []
    for name, tag in (("Make", CLUSTER), ("MakeImages", IMAGE)):
        making = [call for call in calls if call.makes and call.tag == tag]
        if making:
            found.append(
                _allow(
                    name,
                    [call.permission for call in making],
                    _arns(kind for call in making for kind in call.makes),
                    {"Null": {f"aws:RequestTag/{tag}": "false"}},
                )
            )
    actions = [call.action for call in calls if call.makes]
    if actions:
        condition = {"StringEquals": {"ec2:CreateAction": actions}}
        found.append(
            _allow("TagWhatIsMade", ["ec2:CreateTags"], ["arn:aws:ec2:*:*:*/*"], condition)
        )
    return found


def _using(calls: Sequence[Call]) -> list[Statement]:
    """Each call apart: together they would permit to make untagged groups, which launches only use."""
    return [
        _allow(f"{call.action}With", [call.permission], _arns(call.uses))
        for call in calls
        if call.uses
    ]


def _changing(calls: Sequence[Call]) -> list[Statement]:
    found = []
    for name, tag in (("ChangeOurs", CLUSTER), ("ChangeOurImages", IMAGE)):
        changing = [call for call in calls if call.changes and call.tag == tag and not call.keys]
        if changing:
            found.append(
                _allow(
                    name,
                    [call.permission for call in changing],
                    _arns(kind for call in changing for kind in call.changes),
                    _carries(tag),
                )
            )
    for call in calls:
        if call.keys:
            condition = _carries(call.tag) | {
                "ForAllValues:StringEquals": {"aws:TagKeys": list(call.keys)}
            }
            found.append(_allow("Prolong", [call.permission], _arns(call.changes), condition))
    return found


def _elsewhere(calls: Sequence[Call]) -> list[Statement]:
    found = []
    for arns in dict.fromkeys(call.arns for call in calls if call.arns):
        there = [call for call in calls if call.arns == arns]
        permissions = [call.permission for call in there]
        passes_to = there[0].passes_to
        condition = {"StringEquals": {"iam:PassedToService": passes_to}} if passes_to else None
        found.append(_allow(_sid(there), permissions, list(arns), condition))
    return found


def _sid(calls: Sequence[Call]) -> str:
    if calls[0].passes_to:
        return "PassRoleTo" + calls[0].passes_to.partition(".")[0].capitalize()
    return {"ssm": "ReadPublicParameters", "scheduler": "Schedule"}[calls[0].service]


def _carries(tag: str) -> dict[str, Any]:
    return {"Null": {f"aws:ResourceTag/{tag}": "false"}}


# Belong to no account, by their ARNs.
_WITHOUT_ACCOUNT = frozenset(("image", "snapshot"))


def _arns(kinds: Iterable[str]) -> list[str]:
    return [
        f"arn:aws:ec2:*:{'' if kind in _WITHOUT_ACCOUNT else '*'}:{kind}/*"
        for kind in dict.fromkeys(kinds)
    ]


def _allow(
    sid: str,
    actions: Sequence[str],
    resources: Sequence[str],
    condition: Mapping[str, Any] | None = None,
) -> Statement:
    found: Statement = {
        "Sid": sid,
        "Effect": "Allow",
        "Action": list(dict.fromkeys(actions)),
        "Resource": list(resources),
    }
    return found | ({"Condition": dict(condition)} if condition else {})
