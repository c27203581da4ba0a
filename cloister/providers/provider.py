"""What every kind of infrastructure can do: say what exists, and apply a plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from cloister.errors import CloisterError, ProviderError
from cloister.plan.access import Access
from cloister.plan.actions import Plan
from cloister.plan.garbage import Belonging, Holdings
from cloister.plan.images import ImageSource, ObservedImages, OwnImage, Pruning
from cloister.plan.listed import Listing
from cloister.plan.observed import Bill, Observed

if TYPE_CHECKING:
    from cloister.config.spec import ClusterSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeEvent:
    """Progress of one node while a plan is applied."""

    node: str
    kind: Literal["launching", "running", "removing", "removed", "failed"]
    detail: str = ""


Report = Callable[[NodeEvent], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
    """One thing that was looked at for `doctor`; ok is None where it could not be found out."""

    what: str
    ok: bool | None
    found: str
    mend: str = ""


class Provider(Protocol):
    def observe(self, name: str, *, everywhere: bool = False) -> Observed:
        """What carries the cluster's tags right now; creates nothing.

        everywhere: also where neither the configuration nor the record says that it may be, and all that
        belongs to no node; without it `leftovers` has only what is seen on the way.
        """
        ...

    def apply(self, plan: Plan, report: Report) -> None:
        """Remove, then launch, as the plan says; ProviderError when something could not be done.

        Failed launches are undone. Applying again after a crash at any instant continues.
        """
        ...


@runtime_checkable
class Paid(Protocol):
    """A provider whose nodes cost money."""

    def listing(self, names: Sequence[str], *, own: bool = True) -> Listing:
        """These clusters, which are known here, and all others of their accounts, wherever launched from.

        own: also those of the account of the configuration, or of AWS's own settings.
        """
        ...

    def bill(self, name: str) -> Bill | None:
        """Of what there is of the cluster, and was a short time ago; None if that is nothing."""
        ...

    def quote(self, plan: Plan) -> list[str]:
        """What applying the plan would take and cost, in lines for a person."""
        ...

    def expect_within_budget(self, name: str, *, until: float, what: str) -> None:
        """UsageError if the cluster, going on until then (Unix seconds), could cost more than its budget.

        what: that for which it would go on, as the beginning of the message.
        """
        ...


@runtime_checkable
class Leased(Protocol):
    """A provider whose nodes end by themselves when the lease is over."""

    def lease_s(self, name: str) -> float:
        """How long a new lease of the cluster is."""
        ...

    def prolong(self, name: str, expires: int, say: Callable[[str], None]) -> None:
        """The lease ends then (Unix seconds), for launches and for the provider's own services.

        The nodes themselves are told over SSH. UsageError if the budget does not allow it.
        """
        ...

    def tell(self, expires: int) -> tuple[str, bytes]:
        """The command that tells a node when it ends, and the command's input."""
        ...

    def mark_told(self, name: str, nodes: Iterable[str], expires: int) -> None:
        """These nodes have been told."""
        ...


@runtime_checkable
class Rehearsing(Protocol):
    """A provider that can find out whether it will be permitted to do what a configuration needs."""

    def rehearse(self) -> list[Checked]:
        """Who is asking, every call tried without doing it, and the quotas; creates nothing."""
        ...


@runtime_checkable
class Guarded(Protocol):
    """A provider that decides which networks reach its nodes."""

    def access(self, name: str) -> list[Access]:
        """As it is, group by group."""
        ...

    def refresh_access(self, name: str) -> list[Access]:
        """Make it what a launch would make it now; nodes are not touched. Harmless to repeat."""
        ...


@runtime_checkable
class Imaging(Protocol):
    """A provider whose nodes start from images, which can be made of an instance."""

    def image_regions(self, *, everywhere: bool = False) -> list[str]:
        """Where the configuration has nodes, or where the account may have any."""
        ...

    def image_source(self, instance: str, region: str | None = None) -> ImageSource:
        """The instance of that id, name or address; by default in the regions of the configuration."""
        ...

    def bake(
        self,
        source: ImageSource,
        prefix: str,
        *,
        reboot: bool,
        anew: bool,
        say: Callable[[str], None],
    ) -> OwnImage:
        """An available image whose name begins so; a bake that was killed is continued, unless `anew`."""
        ...

    def images(self, regions: Sequence[str]) -> list[ObservedImages]:
        """The account's own, region by region."""
        ...

    def prune(self, chosen: Pruning) -> None:
        """Remove what it says; ProviderError if something stays. Again after a crash, it continues."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Swap:
    """A node's volume for swap, by its id."""

    volume: str
    gib: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Swaps:
    """By node; of those that have none, why."""

    volumes: Mapping[str, Swap]
    errors: Mapping[str, CloisterError]


@runtime_checkable
class Swapping(Protocol):
    """A provider that can give its nodes volumes for swap."""

    def attach_swap(self, name: str, say: Callable[[str], None]) -> Swaps:
        """Each node of a role with `swap` gets its volume, if it has none, which goes when the node goes.

        UsageError if no role has `swap`.
        """
        ...


@runtime_checkable
class Sweeping(Protocol):
    """A provider in whose account things may be left that nobody needs."""

    def holdings(self) -> Holdings:
        """Everything that carries our tags, of all clusters, in all regions of the account."""
        ...

    def sweep(
        self,
        chosen: Sequence[Belonging],
        images: Sequence[Pruning],
        removed: Callable[[Belonging], None],
    ) -> list[str]:
        """Remove these; what could not be. `removed` is told of each thing that is gone."""
        ...


def provider_for(kind: str, clusters: Path, spec: ClusterSpec | None = None) -> Provider:
    """The provider of that kind, keeping its records below the folder `clusters`.

    Launching needs the specification; observing and destroying do not.
    """
    match kind:
        case "local":
            from cloister.providers.local.provider import LocalProvider

            return LocalProvider(clusters=clusters, spec=spec)
        case "manual":
            from cloister.providers.manual import ManualProvider

            return ManualProvider(clusters=clusters, spec=spec)
        case "ec2":
            from cloister.providers.ec2.provider import Ec2Provider

            return Ec2Provider(clusters=clusters, spec=spec)
    raise ProviderError(
        f"there is no provider {kind!r}",
        hint="this cluster may have been launched by a newer version of cloister",
    )
