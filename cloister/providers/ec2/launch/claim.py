"""Who a cluster is: its home region's security group, which only one launch can make, says it to all."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

from cloister.errors import ProviderError
from cloister.providers.ec2 import api, tags
from cloister.providers.ec2.api import Aws, AwsError
from cloister.providers.ec2.journal import Journal
from cloister.providers.ec2.tags import Identity, identity_of

# A cluster that is launched again with less of its lease left than this gets a new one.
_LEASE_LEFT_MIN_S = 600
_PAUSE_S = 0.5


def group_name(name: str) -> str:
    return f"cloister-{name}"


def claim(
    aws: Aws,
    journal: Journal,
    wanted: Identity,
    *,
    vpc: str,
    may_renew: Callable[[], None],
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Identity, Mapping[str, Any]]:
    """The cluster's identity, and its group in the home region.

    A group of that name that is there already decides: another launch, here or elsewhere, made it.

    may_renew: is called before its lease is renewed, and raises what speaks against it.
    """
    group = ensured_group(aws, journal, wanted.home, wanted, vpc=vpc, sleep=sleep)
    identity = identity_of(group)
    assert identity is not None
    lease = group
    if identity.home != wanted.home:
        # The order of the roles has changed: the lease is still told by the group of the old home.
        filters = tags.of_cluster(identity.name)
        old = aws.pages(
            identity.home, "describe_security_groups", "SecurityGroups", Filters=filters
        )
        lease = next(iter(old), group)
        identity = identity_of(lease) or identity
    if identity.expires - time.time() < _LEASE_LEFT_MIN_S:
        may_renew()
        identity = dataclasses.replace(identity, expires=wanted.expires)
        prolong(
            aws,
            wanted.home if lease is group else identity.home,
            [lease["GroupId"]],
            identity.expires,
        )
    return identity, group


def prolong(aws: Aws, region: str, resources: list[str], expires: int) -> None:
    """Write a new end of the lease on these resources."""
    for at in range(0, len(resources), 1000):
        aws.seen(
            region,
            "create_tags",
            Resources=resources[at : at + 1000],
            Tags=tags.tag_list({tags.EXPIRES: str(expires)}),
        )


def ensured_group(
    aws: Aws,
    journal: Journal,
    region: str,
    identity: Identity,
    *,
    vpc: str,
    sleep: Callable[[float], None] = time.sleep,
) -> Mapping[str, Any]:
    """The cluster's security group in a region, made if there is none; of another owner: ProviderError."""
    there = described_group(aws, region, identity.name, vpc)
    if there is None:
        if made := _make(aws, journal, region, identity, vpc):
            return made
        ends_at = time.monotonic() + api.VISIBLE_WITHIN_S
        while (there := described_group(aws, region, identity.name, vpc)) is None:
            if time.monotonic() > ends_at:
                raise ProviderError(
                    f"security group {group_name(identity.name)} in {region} was made but is not seen",
                    hint="run the command again",
                )
            sleep(_PAUSE_S)
    owner = identity_of(there)
    if owner is None or owner.name != identity.name:
        raise ProviderError(
            f"security group {group_name(identity.name)} ({there['GroupId']}) in {region} is not cloister's",
            hint="give the cluster another name, or remove that group",
        )
    return there


def _make(
    aws: Aws, journal: Journal, region: str, identity: Identity, vpc: str
) -> Mapping[str, Any] | None:
    """The new group, as a describe call shows it; None if there was one, which AWS may not show yet."""
    marks = tags.tag_list(identity.tags())
    request: dict[str, Any] = {
        "GroupName": group_name(identity.name),
        "Description": f"cloister cluster {identity.name}",
        "VpcId": vpc,
        "TagSpecifications": [{"ResourceType": "security-group", "Tags": marks}],
    }
    intent = journal.intend(region, "create_security_group", request)
    try:
        reply = aws.asked(region, "create_security_group", **request)
    except AwsError as error:
        # Somebody else's, or our own of which the reply was lost: what it is, its tags say.
        if error.code != "InvalidGroup.Duplicate":
            journal.settle(intent, error.code, refused=True)
            raise
        reply = None
    journal.settle(intent, "made")
    return {"GroupId": reply["GroupId"], "Tags": marks} if reply else None


def described_group(aws: Aws, region: str, name: str, vpc: str) -> Mapping[str, Any] | None:
    """The cluster's security group with its rules; None if there is none."""
    filters = [
        {"Name": "group-name", "Values": [group_name(name)]},
        {"Name": "vpc-id", "Values": [vpc]},
    ]
    found = list(aws.pages(region, "describe_security_groups", "SecurityGroups", Filters=filters))
    return found[0] if found else None
