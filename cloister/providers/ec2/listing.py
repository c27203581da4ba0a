"""All clusters of an account at once: as many calls for many of them as for one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cloister.errors import ProviderError, UsageError
from cloister.plan.listed import Listed, Listing, Unseen, unseen
from cloister.providers.ec2.api import DENIED, Aws, AwsError
from cloister.providers.ec2.observing import (
    Instance,
    Thing,
    all_regions,
    in_order,
    instances,
    regions_with,
    things,
)

_REGIONS_AT_ONCE = 16
_EC2 = "ec2"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Holding:
    """What there is of one cluster, its instances that are gone too."""

    instances: tuple[Instance, ...] = ()
    things: tuple[Thing, ...] = ()

    @property
    def regions(self) -> tuple[str, ...]:
        there = [one.region for one in self.instances if not one.is_gone]
        return tuple(dict.fromkeys([*there, *(thing.region for thing in self.things)]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Account:
    """By cluster what was found; by region why nothing could be; why further regions are not known."""

    holdings: Mapping[str, Holding]
    refused: Mapping[str, ProviderError]
    all_regions: ProviderError | None = None

    @property
    def unseen(self) -> list[Unseen]:
        """Regions that were refused in the same way are named together."""
        alike: dict[str, list[str]] = {}
        for region, error in sorted(self.refused.items()):
            alike.setdefault(getattr(error, "code", type(error).__name__), []).append(region)
        found = [
            unseen("", _EC2, self.refused[regions[0]], tuple(regions)) for regions in alike.values()
        ]
        return found + ([unseen("", _EC2, self.all_regions)] if self.all_regions else [])

    def refusal(self, regions: Iterable[str]) -> ProviderError | None:
        """Why one of these regions could not be looked at, or of all if none is named."""
        named = list(regions) or list(self.refused)
        return next((self.refused[one] for one in named if one in self.refused), None)


def of_account(
    aws: Aws,
    known: Collection[str],
    where: Callable[[str], Sequence[str]],
    entry: Callable[[str, Holding], Listed],
) -> Listing:
    """The clusters that are known here, and all others of the account; nothing hides what can be seen.

    where: the regions of a known cluster.  entry: what is shown of a cluster.
    """
    try:
        regions = {name: where(name) for name in known}
        account = look(aws, sorted({region for each in regions.values() for region in each}))
    except ProviderError as error:
        return Listing(unseen=tuple(unseen(name, _EC2, error) for name in list(known) or [""]))
    seen, missed = [], account.unseen
    for name in dict.fromkeys([*regions, *account.holdings]):
        held = account.holdings.get(name)
        refusal = account.refusal(regions.get(name, ()))
        if held is None and refusal is not None:
            missed.append(unseen(name, _EC2, refusal))
            continue
        try:
            seen.append(entry(name, held or Holding()))
        except UsageError as error:
            # Somebody else's tag, which is no cluster's name.
            missed.append(unseen(name, _EC2, error))
    exist = tuple(one for one in seen if one.observed.exists)
    return Listing(clusters=exist, unseen=tuple(missed))


def joined(accounts: Iterable[tuple[Collection[str], Listing]]) -> Listing:
    """Of several profiles, which may be of one account: each cluster once, as the profile that knows it says."""
    found: dict[tuple[str, str], Listed] = {}
    missed: list[Unseen] = []
    for known, listing in accounts:
        missed += listing.unseen
        for one in listing.clusters:
            key = (one.name, one.observed.uid)
            if one.name in known or key not in found:
                found[key] = one
    return Listing(clusters=tuple(found.values()), unseen=tuple(missed))


def look(aws: Aws, known: Sequence[str]) -> Account:
    """In all regions that the account has enabled; one that this identity may not use is passed over.

    known: regions in which there should be something, whatever their tags say a moment after a launch.
    """
    regions, unknown = _enabled(aws, known)
    refused: dict[str, ProviderError] = {}

    def tried(region: str, work: Callable[[str], list[Any]]) -> list[Any]:
        try:
            return work(region)
        except ProviderError as error:
            refused[region] = error
            return []

    def each(asked: Sequence[str], work: Callable[[str], list[Any]]) -> list[Any]:
        with ThreadPoolExecutor(_REGIONS_AT_ONCE) as pool:
            return [one for found in pool.map(lambda r: tried(r, work), asked) for one in found]

    tagged = each(regions, lambda region: regions_with(aws, None, [region]))
    used = [one for one in regions if one in {*tagged, *known} and one not in refused]
    found = each(used, lambda region: _all(aws, region))
    return Account(holdings=_by_cluster(found), refused=refused, all_regions=unknown)


def _enabled(aws: Aws, known: Sequence[str]) -> tuple[list[str], ProviderError | None]:
    try:
        return list(dict.fromkeys([*known, *all_regions(aws)])), None
    except AwsError as error:
        if error.code not in DENIED:
            raise
        return list(dict.fromkeys(known or [aws.region])), error


def _all(aws: Aws, region: str) -> list[Instance | Thing]:
    """A call for each kind of thing."""
    return [*instances(aws, None, [region]), *things(aws, None, [region])]


def _by_cluster(found: Iterable[Instance | Thing]) -> dict[str, Holding]:
    machines: dict[str, list[Instance]] = {}
    rest: dict[str, list[Thing]] = {}
    for one in found:
        if isinstance(one, Instance):
            machines.setdefault(one.cluster, []).append(one)
        else:
            rest.setdefault(one.cluster, []).append(one)
    return {
        name: Holding(
            instances=tuple(in_order(machines.get(name, ()))), things=tuple(rest.get(name, ()))
        )
        for name in {**machines, **rest}
    }
