"""Placement groups: one per role that asks for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloister.errors import ProviderError
from cloister.providers.ec2 import tags
from cloister.providers.ec2.api import Aws, AwsError
from cloister.providers.ec2.journal import Journal
from cloister.providers.ec2.tags import Identity, identity_of

_PARTITIONS = 7


def ensured_placement_groups(
    aws: Aws,
    journal: Journal,
    region: str,
    identity: Identity,
    strategies: Mapping[str, str],
) -> dict[str, str]:
    """Role → the name of its group, made if there is none."""
    return {
        role: _ensured(aws, journal, region, identity, role, strategy)
        for role, strategy in strategies.items()
    }


def placement_group_name(name: str, role: str) -> str:
    return f"cloister-{name}-{role}"


def _ensured(
    aws: Aws,
    journal: Journal,
    region: str,
    identity: Identity,
    role: str,
    strategy: str,
) -> str:
    name = placement_group_name(identity.name, role)
    request: dict[str, Any] = {
        "GroupName": name,
        "Strategy": strategy,
        "TagSpecifications": tags.specification(["placement-group"], identity.tags()),
    }
    if strategy == "partition":
        request["PartitionCount"] = _PARTITIONS
    intent = journal.intend(region, "create_placement_group", request)
    try:
        aws.asked(region, "create_placement_group", **request)
    except AwsError as error:
        if error.code != "InvalidPlacementGroup.Duplicate":
            journal.settle(intent, error.code, refused=True)
            raise
        _expect_own(aws, region, identity, name, strategy)
    journal.settle(intent, "made")
    return name


def _expect_own(aws: Aws, region: str, identity: Identity, name: str, strategy: str) -> None:
    """ProviderError if the group that is there is another cluster's or of another kind."""
    filters = [{"Name": "group-name", "Values": [name]}]
    # One of which the reply was lost, AWS may not show yet.
    for group in aws.pages(region, "describe_placement_groups", "PlacementGroups", Filters=filters):
        owner = identity_of(group)
        if owner is None or owner.name != identity.name:
            raise ProviderError(
                f"placement group {name} in {region} is not of cluster {identity.name}",
                hint="give the cluster or the role another name, or remove that group",
            )
        if group["Strategy"] != strategy:
            raise ProviderError(
                f"placement group {name} in {region} is a {group['Strategy']} group, not a {strategy} one",
                hint="AWS cannot change that: `cloister destroy`, then `cloister launch`",
            )
