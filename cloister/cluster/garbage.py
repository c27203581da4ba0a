"""What is left in an account that nobody needs: found by tags, removed on request."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cloister.cluster.lifecycle import destroy, is_known, observe
from cloister.cluster.lock import holding
from cloister.cluster.state import clusters_folder
from cloister.plan.garbage import Belonging, Garbage, Holdings, garbage, garbage_images
from cloister.plan.images import Pruning
from cloister.providers.provider import Sweeping, provider_for

if TYPE_CHECKING:
    from cloister.config.spec import ClusterSpec

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """`unseen`: region → why nobody may look there.  left: of what was to be removed, what still is there."""

    things: tuple[Garbage, ...]
    images: tuple[Pruning, ...]
    unseen: dict[str, str]
    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        return not self.things and not self.images


def find_garbage(
    *, state: Path, spec: ClusterSpec | None = None, regions: Sequence[str] = ()
) -> Findings:
    """In these regions, or in all that the account has; removes nothing.

    spec: of an EC2 cluster, for the account that it is in.
    """
    return _findings(_sweeping(state, spec).holdings(regions))


def collect_garbage(
    *,
    state: Path,
    spec: ClusterSpec | None = None,
    regions: Sequence[str] = (),
    wait_s: float = 10.0,
    say: Say = lambda text: None,
) -> Findings:
    """Find and remove it; again after a crash, it continues. Busy if this machine works on such a cluster."""
    sweeping = _sweeping(state, spec)
    clusters = {one.thing.cluster for one in _findings(sweeping.holdings(regions)).things}
    removed: list[str] = []

    def tell(thing: Belonging) -> None:
        removed.append(str(thing))
        say(f"removed {thing}")

    with contextlib.ExitStack() as held:
        for name in sorted(clusters - {""}):
            held.enter_context(holding(name, "cloister gc", state=state, wait_s=wait_s, say=say))
        # Once more: what was over a moment ago may have been launched or prolonged until the lock was held.
        found = _findings(sweeping.holdings(regions))
        todo = [one.thing for one in found.things if one.thing.cluster in clusters]
        left = sweeping.sweep(todo, found.images, tell)
    for name in sorted(clusters - {""}):
        _forget(name, state, say)
    return dataclasses.replace(found, removed=tuple(removed), left=tuple(left))


def _forget(name: str, state: Path, say: Say) -> None:
    """The files here of a cluster of which nothing else is left."""
    if is_known(name, state) and not observe(name, state=state).nodes:
        destroy(name, state=state, say=say)


def _sweeping(state: Path, spec: ClusterSpec | None) -> Sweeping:
    provider = provider_for("ec2", clusters_folder(state), spec)
    assert isinstance(provider, Sweeping)
    return provider


def _findings(held: Holdings) -> Findings:
    prunings = [garbage_images(seen) for seen in held.images]
    return Findings(
        things=tuple(garbage(held.things, time.time())),
        images=tuple(one for one in prunings if one.removed or one.orphans),
        unseen=dict(held.unseen),
    )
