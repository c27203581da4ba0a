"""What nobody needs any more, of all that carries cloister's tags in an account; pure.

A cluster is known by its uid. It lasts until the latest `expires` of its claim (the security group of its
home region) and of its living instances, and a little longer, as its nodes end by themselves then.

| what                                                     | garbage                                    |
|----------------------------------------------------------|--------------------------------------------|
| anything of a cluster that lasts                         | never: a launch or an `extend` may be at work |
| an instance of a cluster that is over                    | yes: it has not ended itself               |
| anything else of a cluster that is over                  | yes                                        |
| of no cluster: neither a claim nor an instance is there  | when its own `expires` is over, or it was made an hour ago or earlier |
| with tags that are not complete                          | never: `destroy` finds it by the cluster's name |
| of a cluster whose home region cannot be looked at       | never: the claim may say that it lasts     |
| a failed image of ours; a snapshot of ours without image | yes                                        |

The hour is for what AWS does not show yet: a launch makes the claim first, and somebody may look just then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Mapping

from cloister.plan.images import ObservedImages, OwnImage, Pruning, RemovedImage, orphans

INSTANCE, SCHEDULE = "instance", "schedule"
# Timers of nodes count in minutes, and their clocks may be a little off.
GRACE_S = 600.0
_UNSEEN_S_MAX = 3600.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Belonging:
    """One thing with our tags, as found; times in Unix seconds, `created` where AWS tells it.

    cluster, uid, home, expires: of its tags, empty or 0 where they are damaged.  claim: the home region's group.
    """

    kind: str
    id: str
    region: str
    cluster: str
    uid: str
    expires: int
    home: str = ""
    created: float | None = None
    claim: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether it has what is judged; of a schedule, only its name is ours."""
        return bool(self.uid and (self.kind == SCHEDULE or (self.expires and self.home)))

    def __str__(self) -> str:
        return f"{self.kind} {self.id} ({self.region})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Holdings:
    """What an account has of ours, region by region; `unseen`: region → why nobody may look there."""

    things: tuple[Belonging, ...] = ()
    images: tuple[ObservedImages, ...] = ()
    unseen: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Garbage:
    """`over_s`: for how long it has been over, or how old it is, in seconds."""

    thing: Belonging
    why: str
    over_s: float


def garbage(found: Iterable[Belonging], now: float, unseen: Container[str] = ()) -> list[Garbage]:
    """In the order in which they were found, in all regions but the unseen ones."""
    everything = [one for one in found if one.is_complete and one.home not in unseen]
    ends: dict[str, int] = {}
    for thing in everything:
        if thing.kind == INSTANCE or thing.claim:
            ends[thing.uid] = max(ends.get(thing.uid, 0), thing.expires)
    judged = (_judged(thing, ends.get(thing.uid), now) for thing in everything)
    return [one for one in judged if one is not None]


def _judged(thing: Belonging, cluster_ends: int | None, now: float) -> Garbage | None:
    if cluster_ends is not None:
        over_s = now - cluster_ends - GRACE_S
        why = "it has not ended itself" if thing.kind == INSTANCE else "its cluster's lease is over"
        return Garbage(thing=thing, why=why, over_s=now - cluster_ends) if over_s > 0 else None
    over_s = now - thing.expires - GRACE_S
    if thing.expires and over_s > 0:
        return Garbage(thing=thing, why="its lease is over", over_s=now - thing.expires)
    if thing.created is not None and now - thing.created > _UNSEEN_S_MAX:
        return Garbage(thing=thing, why="its cluster is gone", over_s=now - thing.created)
    return None


def garbage_images(seen: ObservedImages) -> Pruning:
    """Of one region: failed images, and what a removal left that was cut off. Only what cloister baked."""
    failed = [image for image in seen.images if image.is_cloisters and image.state == "failed"]
    return Pruning(
        region=seen.region,
        prefix="",
        removed=tuple(_with_snapshots(seen, image) for image in failed),
        orphans=tuple(orphans(seen)),
        kept=(),
    )


def _with_snapshots(seen: ObservedImages, image: OwnImage) -> RemovedImage:
    return RemovedImage(image=image, snapshots=seen.snapshots_of(image))
