"""The clusters that there are, with what they cost, and what could not be looked at."""

from __future__ import annotations

import dataclasses

from cloister.errors import CloisterError
from cloister.plan.observed import Bill, Observed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listed:
    """A cluster; the bill is None where nothing is paid, regions are empty where there are none."""

    observed: Observed
    bill: Bill | None = None
    regions: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.observed.name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unseen:
    """A cluster that cannot be looked at, and why; without a name, the regions or account in which any may be."""

    name: str
    provider: str
    error: str
    hint: str
    regions: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    clusters: tuple[Listed, ...] = ()
    unseen: tuple[Unseen, ...] = ()


def unseen(name: str, provider: str, error: CloisterError, regions: tuple[str, ...] = ()) -> Unseen:
    return Unseen(
        name=name, provider=provider, error=error.message, hint=error.hint, regions=regions
    )


def joined(listings: list[Listing]) -> Listing:
    """By name; what several say could not be looked at is said once."""
    found = [entry for listing in listings for entry in listing.clusters]
    missed = dict.fromkeys(entry for listing in listings for entry in listing.unseen)
    return Listing(
        clusters=tuple(sorted(found, key=lambda entry: (entry.name, entry.observed.provider))),
        unseen=tuple(sorted(missed, key=lambda entry: (entry.name, entry.provider))),
    )
