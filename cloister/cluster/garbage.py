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
from cloister.errors import Busy
from cloister.plan.garbage import Belonging, Garbage, Holdings, garbage, garbage_images
from cloister.plan.images import Pruning
from cloister.providers.provider import Sweeping, provider_for

if TYPE_CHECKING:
    from cloister.config.spec import ClusterSpec

Say = Callable[[str], None]

_ROUNDS_MAX = 3


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

    All are looked at in any case: what a cluster has in one may be needed because of its claim in another.
    spec: of an EC2 cluster, for the account that it is in.
    """
    return _findings(_sweeping(state, spec).holdings(), regions)


def collect_garbage(
    *,
    state: Path,
    spec: ClusterSpec | None = None,
    regions: Sequence[str] = (),
    wait_s: float = 10.0,
    say: Say = lambda text: None,
) -> Findings:
    """Find and remove it; again after a crash, it continues. What this machine works on is passed over."""
    sweeping = _sweeping(state, spec)
    first = _findings(sweeping.holdings(), regions)
    removed: list[str] = []
    left: list[str] = []

    def tell(thing: Belonging) -> None:
        removed.append(str(thing))
        say(f"removed {thing}")

    with contextlib.ExitStack() as held:
        ours = set[str]()
        for name in sorted({one.thing.cluster for one in first.things}):
            try:
                held.enter_context(
                    holding(name, "cloister gc", state=state, wait_s=wait_s, say=say)
                )
                ours.add(name)
            except Busy as error:
                left.append(f"cluster {name}: {error.message}")
        found = first
        for _ in range(_ROUNDS_MAX):
            # Again: until the lock was held it may have been launched or prolonged, and a volume is left
            # when its instance has ended.
            found = _findings(sweeping.holdings(), regions)
            todo = [one.thing for one in found.things if one.thing.cluster in ours]
            if not todo and not found.images:
                break
            if why := sweeping.sweep(todo, found.images, tell):
                left += why
                break
    for name in sorted(ours):
        _forget(name, state, say)
    return dataclasses.replace(first, removed=tuple(removed), left=tuple(left))


def _forget(name: str, state: Path, say: Say) -> None:
    """The files here of a cluster of which nothing else is left."""
    if is_known(name, state) and not observe(name, state=state).nodes:
        destroy(name, state=state, say=say)


def _sweeping(state: Path, spec: ClusterSpec | None) -> Sweeping:
    provider = provider_for("ec2", clusters_folder(state), spec)
    assert isinstance(provider, Sweeping)
    return provider


def _findings(held: Holdings, regions: Sequence[str]) -> Findings:
    prunings = [
        garbage_images(seen) for seen in held.images if not regions or seen.region in regions
    ]
    found = garbage(held.things, time.time(), held.unseen)
    return Findings(
        things=tuple(one for one in found if not regions or one.thing.region in regions),
        images=tuple(one for one in prunings if one.removed or one.orphans),
        unseen=dict(held.unseen),
    )
