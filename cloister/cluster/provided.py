"""Which provider a cluster has: as its record says, else as the caller does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cloister.cluster.state import clusters_folder
from cloister.errors import UsageError
from cloister.providers.provider import Provider, provider_for
from cloister.providers.record import cluster_folder, read_record

if TYPE_CHECKING:
    from cloister.config.spec import ClusterSpec


def provider_of(
    name: str, state: Path, spec: ClusterSpec | None = None, kind: str | None = None
) -> Provider:
    """spec, kind: for clusters of which nothing is known here."""
    configured = spec.provider if spec is not None else None
    known = kind_of(name, state) or kind or configured or "local"
    fits = spec if spec is not None and spec.provider == known else None
    return provider_for(known, clusters_folder(state), fits)


def kind_of(name: str, state: Path) -> str | None:
    """The kind of provider that the record names; None if there is no record here."""
    record = read_record(cluster_folder(clusters_folder(state), name))
    return record.provider if record else None


def only_on_ec2(what: str, subject: str) -> UsageError:
    """For what a provider without the ability is asked for: `what` is the command."""
    return UsageError(
        f"{what}: {subject} is not on EC2",
        hint="name a configuration with provider: ec2 with -c, or another cluster with -l",
    )
