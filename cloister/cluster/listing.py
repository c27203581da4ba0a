"""Every cluster of which anything exists: what is known here, and on EC2 all of the account."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cloister.cluster.lifecycle import cluster_names
from cloister.cluster.provided import kind_of
from cloister.cluster.state import clusters_folder
from cloister.errors import CloisterError
from cloister.plan.listed import Listed, Listing, Unseen, joined, unseen
from cloister.providers.provider import Paid, provider_for

if TYPE_CHECKING:
    from cloister.config.spec import ClusterSpec

# Of a cluster without a record: mostly processes of a local one whose folder somebody removed.
_WITHOUT_RECORD = "local"


def listing(
    state: Path, *, spec: ClusterSpec | None = None, provider: str | None = None
) -> Listing:
    """Those that cannot be looked at do not hide the others.

    spec, provider: look there too for clusters that other machines launched.
    """
    asked = provider or (spec.provider if spec is not None else None)
    kinds, unreadable = _names_by_kind(state)
    if asked is not None:
        kinds.setdefault(asked, [])
    recordless = kinds.pop(None, [])
    found = [Listing(unseen=tuple(unreadable))]
    for kind, names in kinds.items():
        fits = spec if spec is not None and spec.provider == kind else None
        found.append(_of_kind(str(kind), names, state, fits, asked=kind == asked))
    elsewhere = {entry.name for part in found for entry in part.clusters}
    rest = [name for name in recordless if name not in elsewhere]
    found.append(_of_kind(_WITHOUT_RECORD, rest, state, None, asked=False))
    return joined(found)


def _names_by_kind(state: Path) -> tuple[dict[str | None, list[str]], list[Unseen]]:
    """And what in the folder of the clusters cannot be one."""
    kinds: dict[str | None, list[str]] = {}
    unreadable = []
    for name in cluster_names(state):
        try:
            kinds.setdefault(kind_of(name, state), []).append(name)
        except CloisterError as error:
            unreadable.append(unseen(name, _WITHOUT_RECORD, error))
    return kinds, unreadable


def _of_kind(
    kind: str, names: Sequence[str], state: Path, spec: ClusterSpec | None, *, asked: bool
) -> Listing:
    try:
        provider = provider_for(kind, clusters_folder(state), spec)
    except CloisterError as error:
        return Listing(unseen=tuple(unseen(name, kind, error) for name in names))
    if isinstance(provider, Paid):
        return provider.listing(names, own=asked)
    seen, missed = [], []
    for name in names:
        try:
            seen.append(Listed(observed=provider.observe(name)))
        except CloisterError as error:
            missed.append(unseen(name, kind, error))
    return Listing(
        clusters=tuple(entry for entry in seen if entry.observed.exists), unseen=tuple(missed)
    )
