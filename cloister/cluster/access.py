"""Who may reach an existing cluster: shown, or made what a launch would make it now."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cloister.cluster.lifecycle import is_known, open_cluster
from cloister.cluster.lock import holding
from cloister.cluster.provided import only_on_ec2, provider_of
from cloister.plan.access import Access
from cloister.providers.provider import Guarded

if TYPE_CHECKING:
    from cloister.config.spec import ClusterSpec

Say = Callable[[str], None]

_WAIT_S = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reach:
    """Of the cluster, group by group."""

    cluster: str
    groups: tuple[Access, ...]


def show_access(name: str | None, *, state: Path, spec: ClusterSpec | None = None) -> Reach:
    """The rules that there are. CloisterError if there is no cluster."""
    name = _existing(name, state, spec)
    provider = _guarded(name, state, spec, "access show")
    return Reach(cluster=name, groups=tuple(provider.access(name)))


def refresh_access(
    name: str | None,
    *,
    state: Path,
    spec: ClusterSpec | None = None,
    wait_s: float = _WAIT_S,
    say: Say = lambda text: None,
) -> Reach:
    """Make the rules what a launch with this configuration, or the recorded one, would make them now.

    CloisterError if there is no cluster.
    """
    name = _existing(name, state, spec)
    with holding(name, "cloister access refresh", state=state, wait_s=wait_s, say=say):
        provider = _guarded(name, state, spec, "access refresh")
        return Reach(cluster=name, groups=tuple(provider.refresh_access(name)))


def _existing(name: str | None, state: Path, spec: ClusterSpec | None) -> str:
    # The configuration may have changed since the launch: what is known here decides where to look.
    known = name is not None and is_known(name, state)
    return open_cluster(name, state=state, spec=None if known else spec, allow_dead=True).name


def _guarded(name: str, state: Path, spec: ClusterSpec | None, what: str) -> Guarded:
    provider = provider_of(name, state, spec)
    if not isinstance(provider, Guarded):
        raise only_on_ec2(what, f"cluster {name}")
    return provider
