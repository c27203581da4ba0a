"""Security groups, their rules, and who keeps them from being deleted."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from cloud.filters import filtered, page
from cloud.network import everywhere
from cloud.refusals import Refusal, invalid_value, missing
from cloud.resources import Group, Region, Rule, Tags, new_id
from cloud.tags import listed, specified
from cloud.world import ACCOUNT, World

NAME_MAX = 255
RULES_MAX = 60


def create_security_group(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    name = asked.get("GroupName") or _missing("GroupName")
    description = asked.get("Description") or _missing("GroupDescription")
    vpc = asked.get("VpcId") or world.network.vpc(region.name)
    _check_new(world, region, name, description, vpc)
    group = Group(
        id=new_id("sg"),
        tags=specified(asked, "security-group")["security-group"],
        created=world.clock.now(),
        name=name,
        description=description,
        vpc=vpc,
        rules=[],
    )
    group.rules.append(everywhere(group.id, group.created))
    region.groups[group.id] = group
    return {
        "GroupId": group.id,
        "Tags": listed(group.tags),
        "SecurityGroupArn": _arn(region, group),
    }


def delete_security_group(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    group = asked_group(world, region, asked)
    if group.name == "default":
        raise Refusal(
            "CannotDelete",
            f'the specified group: "{group.id}" name: "default" cannot be deleted by a user',
        )
    if _users(region, group):
        raise Refusal("DependencyViolation", f"resource {group.id} has a dependent object")
    world.remove(region.groups, group.id)
    return {"Return": True, "GroupId": group.id}


def describe_security_groups(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    groups = world.listed(region.groups)
    ids = asked.get("GroupIds", [])
    if ids:
        groups = [find(world, region, one) for one in ids]
    if names := asked.get("GroupNames"):
        groups = [named(world, region, one) for one in names]
    attributes = {
        "group-id": lambda group: group.id,
        "group-name": lambda group: group.name,
        "description": lambda group: group.description,
        "vpc-id": lambda group: group.vpc,
        "owner-id": lambda _: ACCOUNT,
        "ip-permission.cidr": lambda group: [one.cidr for one in group.rules if not one.egress],
        "ip-permission.group-id": lambda group: [
            one.group for one in group.rules if not one.egress
        ],
        "ip-permission.protocol": lambda group: [
            one.protocol for one in group.rules if not one.egress
        ],
    }
    found = filtered(groups, asked.get("Filters", []), attributes, lambda group: group.tags)
    shown, token = page(found, asked, size=world.settings.page_size, ids=ids)
    return {
        "SecurityGroups": [_group(region, group) for group in shown],
        "NextToken": token,
    }


def describe_rules(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    rules = [rule for group in world.seen(region.groups) for rule in group.rules]
    if ids := asked.get("SecurityGroupRuleIds"):
        rules = [_rule(rules, one) for one in ids]
    attributes = {
        "group-id": lambda rule: rule.group_id,
        "security-group-rule-id": lambda rule: rule.id,
    }
    found = filtered(rules, asked.get("Filters", []), attributes, lambda rule: rule.tags)
    shown, token = page(found, asked, size=world.settings.page_size)
    return {"SecurityGroupRules": [_shown_rule(rule) for rule in shown], "NextToken": token}


def authorize_ingress(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    return _authorize(world, region, asked, egress=False)


def authorize_egress(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    return _authorize(world, region, asked, egress=True)


def revoke_ingress(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    return _revoke(world, region, asked, egress=False)


def revoke_egress(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    return _revoke(world, region, asked, egress=True)


def find(world: World, region: Region, group_id: str) -> Group:
    return world.find(
        region.groups,
        group_id,
        lambda key: Refusal("InvalidGroup.NotFound", f"The security group '{key}' does not exist"),
    )


def named(world: World, region: Region, name: str) -> Group:
    for group in world.seen(region.groups):
        if group.name == name:
            return group
    raise Refusal(
        "InvalidGroup.NotFound", f"The security group '{name}' does not exist in default VPC"
    )


def asked_group(world: World, region: Region, asked: dict[str, Any]) -> Group:
    if group_id := asked.get("GroupId"):
        return find(world, region, group_id)
    if name := asked.get("GroupName"):
        return named(world, region, name)
    raise missing("GroupId")


def identifiers(region: Region, group_ids: tuple[str, ...]) -> list[dict[str, str]]:
    return [
        {"GroupId": one, "GroupName": region.groups[one].name}
        for one in group_ids
        if one in region.groups
    ]


def _check_new(world: World, region: Region, name: str, description: str, vpc: str) -> None:
    if vpc != world.network.vpc(region.name):
        raise Refusal("InvalidVpcID.NotFound", f"The vpc ID '{vpc}' does not exist")
    if name.startswith("sg-"):
        raise invalid_value(
            f"Invalid security group name '{name}': group names may not be in the format sg-*."
        )
    if len(name) > NAME_MAX or len(description) > NAME_MAX:
        raise invalid_value(f"Names and descriptions have at most {NAME_MAX} characters")
    # Truth, not what is seen: a group of this name exists even if no describe shows it yet.
    if any(group.name == name for group in region.groups.values()):
        raise Refusal(
            "InvalidGroup.Duplicate",
            f"The security group '{name}' already exists for VPC '{vpc}'",
        )


def _users(region: Region, group: Group) -> bool:
    by_instances = any(one.alive and group.id in one.groups for one in region.instances.values())
    by_groups = any(
        rule.group == group.id
        for other in region.groups.values()
        if other is not group
        for rule in other.rules
    )
    return by_instances or by_groups


def _authorize(
    world: World, region: Region, asked: dict[str, Any], *, egress: bool
) -> dict[str, Any]:
    group = asked_group(world, region, asked)
    tags = specified(asked, "security-group-rule")["security-group-rule"]
    new = list(_asked_rules(world, region, group, asked, egress, tags))
    if not new:
        raise missing("ipPermissions")
    existing = {rule.identity for rule in group.rules}
    for rule in new:
        if rule.identity in existing:
            raise Refusal(
                "InvalidPermission.Duplicate",
                f'the specified rule "peer: {rule.cidr or rule.group}, {rule.protocol}, '
                f'from port: {rule.from_port}, to port: {rule.to_port}, ALLOW" already exists',
            )
        existing.add(rule.identity)
    if len(group.rules) + len(new) > RULES_MAX:
        raise Refusal(
            "RulesPerSecurityGroupLimitExceeded",
            "The maximum number of rules per security group has been reached.",
        )
    group.rules.extend(new)
    return {"Return": True, "SecurityGroupRules": [_shown_rule(rule) for rule in new]}


def _revoke(world: World, region: Region, asked: dict[str, Any], *, egress: bool) -> dict[str, Any]:
    group = asked_group(world, region, asked)
    if ids := asked.get("SecurityGroupRuleIds"):
        gone = [_rule(group.rules, one) for one in ids]
    else:
        wanted = {rule.identity for rule in _asked_rules(world, region, group, asked, egress, {})}
        gone = [rule for rule in group.rules if rule.identity in wanted]
        if len(gone) < len(wanted):
            raise Refusal(
                "InvalidPermission.NotFound",
                "The specified rule does not exist in this security group.",
            )
    group.rules = [rule for rule in group.rules if rule not in gone]
    return {"Return": True}


def _asked_rules(
    world: World,
    region: Region,
    group: Group,
    asked: dict[str, Any],
    egress: bool,
    tags: Tags,
) -> Iterator[Rule]:
    for permission in _permissions(asked):
        protocol = str(permission.get("IpProtocol") or _missing("ipProtocol"))
        for cidr, other, description in _peers(world, region, permission):
            yield Rule(
                id=new_id("sgr"),
                tags=dict(tags),
                created=world.clock.now(),
                group_id=group.id,
                egress=egress,
                protocol=protocol,
                from_port=int(permission.get("FromPort", -1)),
                to_port=int(permission.get("ToPort", -1)),
                cidr=cidr,
                group=other,
                description=description,
            )


def _permissions(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """The older form has one rule in parameters of the call itself."""
    if "IpPermissions" in asked or "IpProtocol" not in asked:
        return list(asked.get("IpPermissions", []))
    single: dict[str, Any] = {
        key: asked[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in asked
    }
    if "CidrIp" in asked:
        single["IpRanges"] = [{"CidrIp": asked["CidrIp"]}]
    if asked.get("SourceSecurityGroupName"):
        single["UserIdGroupPairs"] = [{"GroupName": asked["SourceSecurityGroupName"]}]
    return [single]


def _peers(
    world: World, region: Region, permission: dict[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """(CIDR, group id, description); one of the first two is empty."""
    for one in permission.get("IpRanges", []):
        yield _cidr(one["CidrIp"]), "", one.get("Description", "")
    for one in permission.get("Ipv6Ranges", []):
        yield _cidr(one["CidrIpv6"]), "", one.get("Description", "")
    for one in permission.get("UserIdGroupPairs", []):
        yield "", asked_group(world, region, one).id, one.get("Description", "")


def _cidr(text: str) -> str:
    try:
        if "/" not in text:
            raise ValueError(text)
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as error:
        raise invalid_value(f"CIDR block {text} is malformed") from error


def _rule(rules: list[Rule], rule_id: str) -> Rule:
    for rule in rules:
        if rule.id == rule_id:
            return rule
    raise Refusal(
        "InvalidSecurityGroupRuleId.NotFound",
        f"The security group rule ID '{rule_id}' does not exist",
    )


def _group(region: Region, group: Group) -> dict[str, Any]:
    return {
        "GroupId": group.id,
        "GroupName": group.name,
        "Description": group.description,
        "VpcId": group.vpc,
        "OwnerId": ACCOUNT,
        "SecurityGroupArn": _arn(region, group),
        "Tags": listed(group.tags),
        "IpPermissions": _shown_permissions([one for one in group.rules if not one.egress]),
        "IpPermissionsEgress": _shown_permissions([one for one in group.rules if one.egress]),
    }


def _shown_permissions(rules: list[Rule]) -> list[dict[str, Any]]:
    """Rules of the same protocol and ports are one permission."""
    kinds = dict.fromkeys((rule.protocol, rule.from_port, rule.to_port) for rule in rules)
    return [
        _permission(
            kind, [one for one in rules if (one.protocol, one.from_port, one.to_port) == kind]
        )
        for kind in kinds
    ]


def _permission(kind: tuple[str, int, int], rules: list[Rule]) -> dict[str, Any]:
    protocol, from_port, to_port = kind
    ports = {} if protocol == "-1" else {"FromPort": from_port, "ToPort": to_port}
    return {
        "IpProtocol": protocol,
        **ports,
        "IpRanges": [
            {"CidrIp": one.cidr, **_described(one)}
            for one in rules
            if one.cidr and ":" not in one.cidr
        ],
        "Ipv6Ranges": [
            {"CidrIpv6": one.cidr, **_described(one)} for one in rules if ":" in one.cidr
        ],
        "UserIdGroupPairs": [
            {"GroupId": one.group, "UserId": ACCOUNT, **_described(one)}
            for one in rules
            if one.group
        ],
        "PrefixListIds": [],
    }


def _described(rule: Rule) -> dict[str, str]:
    return {"Description": rule.description} if rule.description else {}


def _shown_rule(rule: Rule) -> dict[str, Any]:
    if rule.group:
        peer: dict[str, Any] = {"ReferencedGroupInfo": {"GroupId": rule.group, "UserId": ACCOUNT}}
    else:
        peer = {"CidrIpv6" if ":" in rule.cidr else "CidrIpv4": rule.cidr}
    return {
        "SecurityGroupRuleId": rule.id,
        "GroupId": rule.group_id,
        "GroupOwnerId": ACCOUNT,
        "IsEgress": rule.egress,
        "IpProtocol": rule.protocol,
        "FromPort": rule.from_port,
        "ToPort": rule.to_port,
        "Tags": listed(rule.tags),
        **peer,
        **_described(rule),
    }


def _arn(region: Region, group: Group) -> str:
    return f"arn:aws:ec2:{region.name}:{ACCOUNT}:security-group/{group.id}"


def _missing(name: str) -> str:
    raise missing(name)
