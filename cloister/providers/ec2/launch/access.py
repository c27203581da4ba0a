"""Who reaches the nodes: this machine over SSH, the nodes each other, and what `expose` names."""

from __future__ import annotations

import os
import urllib.request
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from cloister.config.ec2_spec import Ec2Spec
from cloister.config.spec import ClusterSpec
from cloister.durable import write_whole
from cloister.errors import ProviderError, UsageError
from cloister.plan.access import Access, Rule
from cloister.plan.observed import Node
from cloister.providers.ec2 import tags
from cloister.providers.ec2.api import Aws, AwsError
from cloister.providers.ec2.journal import Journal
from cloister.providers.ec2.observing import Instance
from cloister.providers.ec2.tags import Identity
from cloister.providers.keys import new_key_pair, write_private_key

# Amazon's own service; the variable is for networks that have another.
_ADDRESS_URL = "https://checkip.amazonaws.com"
_ADDRESS_VARIABLE = "CLOISTER_ADDRESS_URL"
_ADDRESS_WITHIN_S = 10.0
KEY_FILE = "client_key"
_SSH = 22
# Of a security group, by AWS's default.
_RULES_MAX = 60


def networks(spec: Ec2Spec) -> tuple[str, ...]:
    """The addresses that may log in: as configured, or this machine's own as the internet sees it."""
    if spec.access is not None:
        return tuple(spec.access)
    url = os.environ.get(_ADDRESS_VARIABLE, _ADDRESS_URL)
    try:
        with urllib.request.urlopen(url, timeout=_ADDRESS_WITHIN_S) as answer:  # noqa: S310
            return (f"{IPv4Address(answer.read(64).decode().strip())}/32",)
    except (OSError, ValueError) as error:
        raise ProviderError(
            f"asking {url} for this machine's public address: {error}",
            hint="give cluster.ec2.access the addresses that may log in, such as [192.0.2.7/32]",
        ) from None


def expect_room(nodes: Iterable[Node], spec: Ec2Spec, ssh_from: Sequence[str]) -> None:
    """UsageError if a region's group would need more rules than AWS allows, before anything is made."""
    by_region = Counter(node.region for node in nodes)
    total = sum(by_region.values())
    for region, count in by_region.items():
        rules = total - count + len(ssh_from) + len(spec.expose) + 1
        if len(by_region) > 1 and rules > _RULES_MAX:
            raise UsageError(
                f"the security group in {region} would need {rules} rules, one for each of the"
                f" {total - count} nodes in other regions; AWS allows {_RULES_MAX}",
                hint="fewer nodes outside of each region, or a cluster for each region",
            )


def allow(
    aws: Aws,
    region: str,
    group: Mapping[str, Any],
    spec: ClusterSpec,
    *,
    ssh_from: Iterable[str],
    living: Iterable[Instance],
) -> Access:
    """Make the group's rules these and no others: in one call what is missing, in one what is too much.

    SSH as configured, and everything from the cluster's nodes in its other regions.
    """
    peers = sorted({i.address for i in living if i.region != region and i.address})
    group_id = group["GroupId"]
    wanted = _rules(group_id, spec.ec2, ssh_from, spec.ssh.port or _SSH, peers)
    there = _there(group)
    missing = [rule for rule in wanted if rule not in there]
    surplus = [rule for rule in there if rule not in wanted]
    changes = [
        ("authorize_security_group_ingress", missing),
        ("revoke_security_group_ingress", surplus),
    ]
    if len(there) + len(missing) > _RULES_MAX:
        changes.reverse()
    for action, rules in changes:
        if rules:
            _change(aws, region, action, group_id, rules)
    return Access(
        region=region,
        group=group_id,
        rules=_told(wanted, group_id),
        added=_told(missing, group_id),
        revoked=_told(surplus, group_id),
    )


def refresh(
    aws: Aws,
    name: str,
    regions: Iterable[str],
    spec: ClusterSpec,
    living: Sequence[Instance],
) -> list[Access]:
    """As a launch would make them now, for the groups of the cluster that are there."""
    groups = _groups(aws, name, regions)
    # Everything is known before anything is changed.
    ssh_from = networks(spec.ec2) if groups else ()
    return [
        allow(aws, region, group, spec, ssh_from=ssh_from, living=living)
        for region, group in groups
    ]


def shown(aws: Aws, name: str, regions: Iterable[str]) -> list[Access]:
    """As they are."""
    return [
        Access(region=region, group=group["GroupId"], rules=_told(_there(group), group["GroupId"]))
        for region, group in _groups(aws, name, regions)
    ]


def _groups(aws: Aws, name: str, regions: Iterable[str]) -> list[tuple[str, Mapping[str, Any]]]:
    filters = tags.of_cluster(name)
    return [
        (region, group)
        for region in regions
        for group in aws.pages(
            region, "describe_security_groups", "SecurityGroups", Filters=filters
        )
    ]


def _change(
    aws: Aws, region: str, action: str, group_id: str, rules: Sequence[Mapping[str, Any]]
) -> None:
    try:
        aws.seen(region, action, GroupId=group_id, IpPermissions=rules)
    except AwsError as error:
        if error.code not in ("InvalidPermission.Duplicate", "InvalidPermission.NotFound"):
            raise
        # An earlier try, of which the reply was lost, did it. Otherwise AWS has refused all of them for
        # one that it did not show a moment ago.
        if not error.repeated and len(rules) > 1:
            for rule in rules:
                _change(aws, region, action, group_id, [rule])


def _rules(
    group_id: str, spec: Ec2Spec, ssh_from: Iterable[str], ssh_port: int, peers: Iterable[str]
) -> list[dict[str, Any]]:
    rules = [_of_port(ssh_port, network) for network in ssh_from]
    rules += [_of_port(entry.port, entry.to) for entry in spec.expose]
    rules += [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": f"{peer}/32"}]} for peer in peers]
    rules.append({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group_id}]})
    # AWS refuses a call that has a rule twice.
    return [rule for at, rule in enumerate(rules) if rule not in rules[:at]]


def _of_port(port: int, network: str) -> dict[str, Any]:
    return {
        "IpProtocol": "tcp",
        "FromPort": port,
        "ToPort": port,
        "IpRanges": [{"CidrIp": network}],
    }


# Where a rule has its sources, and what of each is its name.
_SOURCES = {
    "IpRanges": "CidrIp",
    "Ipv6Ranges": "CidrIpv6",
    "PrefixListIds": "PrefixListId",
    "UserIdGroupPairs": "GroupId",
}


def _there(group: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a describe call folds, one rule each, as `_rules` writes them."""
    return [rule for entry in group.get("IpPermissions") or () for rule in _single(entry)]


def _single(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    base = {key: entry[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in entry}
    if base.get("IpProtocol") == "-1":
        base = {"IpProtocol": "-1"}
    return [
        base | {key: [{name: source[name]}]}
        for key, name in _SOURCES.items()
        for source in entry.get(key) or ()
    ]


def _told(rules: Iterable[Mapping[str, Any]], group_id: str) -> tuple[Rule, ...]:
    return tuple(Rule(ports=_ports(rule), source=_source(rule, group_id)) for rule in rules)


def _ports(rule: Mapping[str, Any]) -> str:
    protocol = str(rule["IpProtocol"])
    if protocol == "-1":
        return "everything"
    first, last = rule.get("FromPort", -1), rule.get("ToPort", -1)
    if protocol not in ("tcp", "udp"):
        # Others have no ports; of ICMP these are type and code.
        return protocol
    return f"{protocol} {first}" if first == last else f"{protocol} {first}-{last}"


def _source(rule: Mapping[str, Any], group_id: str) -> str:
    found = next(str(rule[key][0][name]) for key, name in _SOURCES.items() if key in rule)
    return "the cluster's nodes in this region" if found == group_id else found


# --- keys ----------------------------------------------------------------------------------------


def key_name(name: str) -> str:
    return f"cloister-{name}"


def ensured_key(
    aws: Aws,
    journal: Journal,
    region: str,
    identity: Identity,
    folder: Path,
    spec: Ec2Spec,
) -> str:
    """The key pair's name at AWS: the configured one, or the cluster's, whose private key stays here."""
    if spec.key_pair:
        return spec.key_pair
    name = key_name(identity.name)
    at_aws = _public_key(aws, region, name)
    public = _own_key(folder, may_make=at_aws is None)
    if at_aws is not None and _material(at_aws) != _material(public):
        raise ProviderError(
            f"key pair {name} in {region} is another than {folder / KEY_FILE}",
            hint="the cluster was launched from another machine: launch it there, or destroy it first",
        )
    if at_aws is None:
        request: dict[str, Any] = {
            "KeyName": name,
            "PublicKeyMaterial": public,
            "TagSpecifications": tags.specification(["key-pair"], identity.tags()),
        }
        intent = journal.intend(region, "import_key_pair", request)
        try:
            aws.asked(region, "import_key_pair", **request)
        except AwsError as error:
            # Ours, of which the reply was lost; another launch's is noticed when it is used.
            if error.code != "InvalidKeyPair.Duplicate":
                journal.settle(intent, error.code, refused=True)
                raise
        journal.settle(intent, "made")
    return name


def _own_key(folder: Path, *, may_make: bool) -> str:
    """The public half of the cluster's key, made here if there is none; empty if it must not be made."""
    private, public = folder / KEY_FILE, folder / f"{KEY_FILE}.pub"
    if not public.exists() and may_make:
        # The private key is written first: a crash in between makes both anew.
        pair = new_key_pair()
        write_private_key(private, pair.private)
        write_whole(public, pair.public + "\n", durably=True)
    return public.read_text().strip() if public.exists() else ""


def _material(line: str) -> list[str]:
    return line.split()[:2]


def _public_key(aws: Aws, region: str, name: str) -> str | None:
    """The public key line that AWS has under this name; None if it has none."""
    filters = [{"Name": "key-name", "Values": [name]}]
    reply = aws.asked(region, "describe_key_pairs", Filters=filters, IncludePublicKey=True)
    for entry in reply["KeyPairs"]:
        return str(entry.get("PublicKey", ""))
    return None
