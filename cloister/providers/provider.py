"""What every kind of infrastructure can do: say what exists, and apply a plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from cloister.errors import ProviderError
from cloister.plan.actions import Plan
from cloister.plan.observed import Observed

if TYPE_CHECKING:
    from cloister.config.spec import ClusterSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeEvent:
    """Progress of one node while a plan is applied."""

    node: str
    kind: Literal["launching", "running", "removing", "removed", "failed"]
    detail: str = ""


Report = Callable[[NodeEvent], None]


class Provider(Protocol):
    def observe(self, name: str) -> Observed:
        """What carries the cluster's tags right now; creates nothing."""
        ...

    def apply(self, plan: Plan, report: Report) -> None:
        """Remove, then launch, as the plan says; ProviderError when something could not be done.

        Failed launches are undone. Applying again after a crash at any instant continues.
        """
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
    raise ProviderError(
        f"there is no provider {kind!r}",
        hint="this cluster may have been launched by a newer version of cloister",
    )
