"""What a provider says about a configuration before anything is launched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cloister.cluster.provided import only_on_ec2, provider_of
from cloister.providers.provider import Checked, Rehearsing

if TYPE_CHECKING:
    from cloister.config.spec import ClusterSpec


def rehearse(spec: ClusterSpec, *, state: Path) -> list[Checked]:
    """Whether what the configuration needs is permitted and there; creates nothing."""
    provider = provider_of(spec.name, state, spec)
    if not isinstance(provider, Rehearsing):
        raise only_on_ec2("doctor --aws", f"cluster {spec.name}")
    return provider.rehearse()
