"""In which regions a cluster is, and in which account."""

from __future__ import annotations

from collections.abc import Sequence

from cloister.config.spec import ClusterSpec
from cloister.errors import ProviderError
from cloister.providers.ec2.api import Aws
from cloister.providers.ec2.observing import Instance, all_regions, regions_with, things
from cloister.providers.record import ClusterRecord


def known_regions(
    aws: Aws, name: str, spec: ClusterSpec | None, record: ClusterRecord | None
) -> list[str]:
    """Those of the specification, and those in which it was launched before; if neither is known, where
    something carries the cluster's tag."""
    return _told(aws, spec, record) or regions_with(aws, name, all_regions(aws))


def _told(aws: Aws, spec: ClusterSpec | None, record: ClusterRecord | None) -> list[str]:
    """By the specification and the record."""
    launched = record.regions if record else []
    if spec is None:
        return launched
    named = [region for role in spec.roles.values() for region in role.regions or ()]
    return list(dict.fromkeys([spec.ec2.region or aws.region, *named, *launched]))


def everywhere(
    aws: Aws, name: str, spec: ClusterSpec | None, record: ClusterRecord | None
) -> list[str]:
    """Where the cluster should be, and where else something carries its tag.

    Where the specification or the record names the regions, another one that this identity may not look at
    does not keep a destroy from its work: what they say of a launch was written before it launched.
    """
    told = _told(aws, spec, record)
    found = regions_with(aws, name, all_regions(aws), pass_over=bool(told))
    return list(dict.fromkeys([*told, *found]))


def home_region(aws: Aws, name: str) -> str | None:
    """That of the cluster if there is one of this name already, launched from somewhere else."""
    found = regions_with(aws, name, all_regions(aws), pass_over=True)
    homes = [thing.identity.home for thing in things(aws, name, found) if thing.identity]
    return next(iter([*homes, *found]), None)


def in_region(spec: ClusterSpec, region: str | None) -> ClusterSpec:
    """With that region, unless it names one itself."""
    if region is None or spec.ec2.region is not None:
        return spec
    return spec.model_copy(update={"ec2": spec.ec2.model_copy(update={"region": region})})


def expect_same_account(aws: Aws, record: ClusterRecord | None, found: Sequence[Instance]) -> None:
    """ProviderError if the cluster was launched in another account than that of these credentials.

    found: its instances, which tell the account; where there are none, AWS is asked.
    """
    if record is None or not record.account:
        return
    here = next((one.owner for one in found), "") or aws.account
    if here != record.account:
        raise ProviderError(
            f"cluster {record.name} was launched in the AWS account {record.account}, and the credentials"
            f" are those of {here} (from {aws.origin})",
            hint="use the profile with which it was launched (AWS_PROFILE or cluster.ec2.profile), or give"
            " the other cluster another name",
        )
