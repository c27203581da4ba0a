"""The end of a cluster's lease, written where launches and AWS's own services read it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from cloister.errors import ProviderError
from cloister.providers.ec2.api import DENIED, Aws, AwsError
from cloister.providers.ec2.launch import claim
from cloister.providers.ec2.launch.launching import Say
from cloister.providers.ec2.lease import schedules
from cloister.providers.ec2.observing import Instance, Thing
from cloister.providers.ec2.tags import Identity


def prolong(
    aws: Aws,
    name: str,
    living: Sequence[Instance],
    groups: Iterable[Thing],
    expires: int,
    *,
    role: str | None,
    say: Say,
) -> None:
    """The cluster's lease ends then; its nodes are still to be told. Unix seconds.

    The schedules come first: one that is too late does no harm, and one that is too early would.
    """
    group, identity = _home(name, groups)
    schedule(aws, dataclasses.replace(identity, expires=expires), living, role, say)
    claim.prolong(aws, identity.home, [group.id], expires)


def schedule(
    aws: Aws, identity: Identity, living: Sequence[Instance], role: str | None, say: Say
) -> None:
    """Write the schedule of each region that has nodes, if a role for that is configured and permitted."""
    if role is None:
        return
    for region in sorted({instance.region for instance in living}):
        try:
            schedules.put_schedule(aws, region, identity, living, role)
        except AwsError as error:
            if error.code not in DENIED:
                raise
            say(f"no schedule in {region}, the nodes' own timers remain: {error}")


def mark(aws: Aws, told: Iterable[Instance], expires: int) -> None:
    """These instances end by themselves at that time."""
    by_region: dict[str, list[str]] = {}
    for instance in told:
        by_region.setdefault(instance.region, []).append(instance.id)
    for region, ids in by_region.items():
        claim.prolong(aws, region, ids, expires)


def _home(name: str, groups: Iterable[Thing]) -> tuple[Thing, Identity]:
    for group in groups:
        identity = group.identity
        if identity and identity.home == group.region:
            return group, identity
    raise ProviderError(
        f"cluster {name} has no security group in its home region, which says when its lease ends",
        hint="`cloister launch` makes it again",
    )
