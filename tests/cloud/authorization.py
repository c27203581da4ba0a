"""Whether the caller's policy, the setting `policy`, permits a call: for each resource that the call is about.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
What does not exist has no tags, so a policy that asks for one refuses it before anybody looks for it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from cloud.iam import Context, grant
from cloud.parameters import image_id
from cloud.refusals import Refusal, not_simulated
from cloud.resources import Region, Tags
from cloud.world import ACCOUNT, World

Asked = Mapping[str, Any]
_WITHOUT_ACCOUNT = ("image", "snapshot")
# Action → kinds that it makes; (kind, parameter) of those that it is about.
_EC2: dict[str, tuple[tuple[str, ...], tuple[tuple[str, str], ...]]] = {
    "RunInstances": (
        ("instance", "volume", "network-interface"),
        (("image", "ImageId"), ("key-pair", "KeyName")),
    ),
    "CreateSecurityGroup": (("security-group",), (("vpc", "VpcId"),)),
    "ImportKeyPair": (("key-pair",), ()),
    "CreatePlacementGroup": (("placement-group",), ()),
    "CreateVolume": (("volume",), ()),
    "CreateImage": (("image", "snapshot"), (("instance", "InstanceId"),)),
    "AuthorizeSecurityGroupIngress": ((), (("security-group", "GroupId"),)),
    "RevokeSecurityGroupIngress": ((), (("security-group", "GroupId"),)),
    "DeleteSecurityGroup": ((), (("security-group", "GroupId"),)),
    "DeleteKeyPair": ((), (("key-pair", "KeyName"),)),
    "DeletePlacementGroup": ((), (("placement-group", "GroupName"),)),
    "DeleteVolume": ((), (("volume", "VolumeId"),)),
    "DeleteNetworkInterface": ((), (("network-interface", "NetworkInterfaceId"),)),
    "AttachVolume": ((), (("volume", "VolumeId"), ("instance", "InstanceId"))),
    "DetachVolume": ((), (("volume", "VolumeId"),)),
    "ModifyInstanceAttribute": ((), (("instance", "InstanceId"),)),
    "TerminateInstances": ((), (("instance", "InstanceIds"),)),
    "StopInstances": ((), (("instance", "InstanceIds"),)),
    "StartInstances": ((), (("instance", "InstanceIds"),)),
    "RebootInstances": ((), (("instance", "InstanceIds"),)),
    "DeregisterImage": ((), (("image", "ImageId"),)),
    "DeleteSnapshot": ((), (("snapshot", "SnapshotId"),)),
    "AllocateAddress": (("elastic-ip",), ()),
    "ReleaseAddress": ((), (("elastic-ip", "AllocationId"),)),
}
_TABLES = {
    "instance": "instances",
    "volume": "volumes",
    "security-group": "groups",
    "key-pair": "keys",
    "placement-group": "placement_groups",
    "image": "images",
    "snapshot": "snapshots",
    "elastic-ip": "addresses",
}
_KINDS = {
    "i": "instance",
    "vol": "volume",
    "sg": "security-group",
    "key": "key-pair",
    "pg": "placement-group",
    "ami": "image",
    "snap": "snapshot",
    "eipalloc": "elastic-ip",
    "eni": "network-interface",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Question:
    permission: str
    arn: str
    context: Context


def authorize(
    world: World, region: str, service: str, action: str, protocol: str, asked: Asked
) -> list[str]:
    """What of the policy permitted it, "Sid permission resource" each; a Refusal if nothing does."""
    granted = []
    for question in _questions(world, world.region(region), service, action, asked):
        context = {**question.context, "aws:RequestedRegion": region}
        found = grant(world.settings.policy or {}, question.permission, question.arn, context)
        if found is None:
            raise _denied(protocol, question)
        granted.append(f"{found.sid} {question.permission} {found.resource}")
    return granted


def _denied(protocol: str, question: _Question) -> Refusal:
    text = (
        f"You are not authorized to perform this operation. User: arn:aws:iam::{ACCOUNT}:user/moto "
        f"is not authorized to perform: {question.permission} on resource: {question.arn} because no "
        f"identity-based policy allows the {question.permission} action."
    )
    if protocol == "ec2":
        return Refusal("UnauthorizedOperation", text, status=403)
    return Refusal("AccessDeniedException", text)


def _questions(
    world: World, region: Region, service: str, action: str, asked: Asked
) -> Iterator[_Question]:
    if service == "sts":
        # Everybody may ask who they are.
        return
    if service == "ec2" and not action.startswith(("Describe", "Get")):
        yield from _of_ec2(world, region, action, asked)
    elif service == "scheduler" and action != "ListSchedules":
        yield from _of_scheduler(region, action, asked)
    elif service == "ssm":
        arn = f"arn:aws:ssm:{region.name}::parameter{asked['Name']}"
        yield _Question(permission=f"ssm:{action}", arn=arn, context={})
    else:
        yield _Question(permission=f"{service}:{action}", arn="*", context={})


def _of_ec2(world: World, region: Region, action: str, asked: Asked) -> Iterator[_Question]:
    if action == "CreateTags":
        for one in asked["Resources"]:
            kind = _KINDS[one.split("-")[0]]
            yield _about(region, action, kind, one, _requested(asked.get("Tags", [])))
        return
    if action not in _EC2:
        raise not_simulated(action, details="under a policy")
    makes, about = _EC2[action]
    tags = {one["ResourceType"]: one.get("Tags", []) for one in asked.get("TagSpecifications", [])}
    # A request for spot instances is looked at only when it is to be tagged.
    for kind in dict.fromkeys([*makes, *tags]):
        yield _about(region, action, kind, "*", _requested(tags.get(kind, [])))
    used = [(kind, name) for kind, key in about for name in _each(asked.get(key))]
    if action == "RunInstances":
        used = [*used, *_launch_uses(region, asked)]
    for kind, name in used:
        yield _about(region, action, kind, name, {})
    for kind, given in tags.items():
        yield _about(
            region, "CreateTags", kind, "*", {**_requested(given), "ec2:CreateAction": action}
        )
    if profile := asked.get("IamInstanceProfile"):
        yield _passed(profile["Name"], "ec2.amazonaws.com")


def _launch_uses(region: Region, asked: Asked) -> Iterator[tuple[str, str]]:
    interfaces = asked.get("NetworkInterfaces", [])
    for one in interfaces:
        yield "subnet", one["SubnetId"]
    groups = [group for one in interfaces for group in one.get("Groups", [])]
    for name in groups or asked.get("SecurityGroupIds", []):
        yield "security-group", name
    if name := asked.get("Placement", {}).get("GroupName"):
        yield "placement-group", name


def _about(
    region: Region, action: str, kind: str, name: str, context: Mapping[str, Any]
) -> _Question:
    account = "" if kind in _WITHOUT_ACCOUNT else ACCOUNT
    carried = {f"aws:ResourceTag/{k}": v for k, v in _tags(region, kind, name).items()}
    if kind == "image" and name.startswith("resolve:ssm:"):
        name = image_id(region, name.removeprefix("resolve:ssm:"))
    return _Question(
        permission=f"ec2:{action}",
        arn=f"arn:aws:ec2:{region.name}:{account}:{kind}/{name}",
        context={**carried, **context},
    )


def _tags(region: Region, kind: str, name: str) -> Tags:
    """Those of what is there; keys and placement groups go by name or by id."""
    if kind == "network-interface":
        return next(
            (one.interface_tags for one in region.instances.values() if one.interface == name), {}
        )
    table = getattr(region, _TABLES[kind]) if kind in _TABLES else {}
    for one in table.values():
        if name in (one.id, getattr(one, "name", None)):
            return dict(one.tags)
    return {}


def _requested(tags: list[Mapping[str, str]]) -> dict[str, Any]:
    if not tags:
        return {}
    keys = [tag["Key"] for tag in tags]
    return {
        **{f"aws:RequestTag/{tag['Key']}": tag.get("Value", "") for tag in tags},
        "aws:TagKeys": keys,
    }


def _of_scheduler(region: Region, action: str, asked: Asked) -> Iterator[_Question]:
    name = str(asked["path"]).rpartition("/")[2]
    arn = f"arn:aws:scheduler:{region.name}:{ACCOUNT}:schedule/default/{name}"
    yield _Question(permission=f"scheduler:{action}", arn=arn, context={})
    target = asked.get("Target")
    if target:
        role = json.loads(target)["RoleArn"] if isinstance(target, str) else target["RoleArn"]
        yield _passed(role.rpartition("/")[2], "scheduler.amazonaws.com")


def _passed(role: str, service: str) -> _Question:
    return _Question(
        permission="iam:PassRole",
        arn=f"arn:aws:iam::{ACCOUNT}:role/{role}",
        context={"iam:PassedToService": service},
    )


def _each(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]
