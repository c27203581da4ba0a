"""The account's own machine images, and which of those that cloister baked are no longer needed; pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloister.config.spec import ClusterSpec

_AVAILABLE = "available"
# Somebody makes it right now, here or elsewhere.
_BEING_MADE = ("pending", "transient")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnImage:
    """`created` in Unix seconds; `gib` of all its disks together.

    prefix, bake: of what beginning of a name, and by which bake, cloister made it; empty if it did not.
    latest: whether `ami: latest` of the configuration means it, for its architecture.
    """

    id: str
    name: str
    region: str
    state: str
    architecture: str
    created: float
    gib: int
    prefix: str = ""
    bake: str = ""
    latest: bool = False
    snapshots: tuple[str, ...] = ()

    @property
    def is_cloisters(self) -> bool:
        return bool(self.prefix and self.bake)

    def __str__(self) -> str:
        return f"image {self.name} ({self.id}) in {self.region}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSource:
    """An instance to make an image of; `cluster` if it is a node of one."""

    instance: str
    region: str
    name: str
    state: str
    cluster: str

    def __str__(self) -> str:
        return self.instance if self.name == self.instance else f"{self.name} ({self.instance})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnSnapshot:
    """One disk of an image that cloister baked; `settled` when it is not being written any more."""

    id: str
    region: str
    gib: int
    prefix: str
    bake: str
    settled: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObservedImages:
    """Of one region: all images of the account's own, and the snapshots with cloister's tags.

    used_by: image → the instances that run on it, of those that cloister baked.
    """

    region: str
    images: tuple[OwnImage, ...] = ()
    snapshots: tuple[OwnSnapshot, ...] = ()
    used_by: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def snapshots_of(self, image: OwnImage) -> tuple[OwnSnapshot, ...]:
        return tuple(snapshot for snapshot in self.snapshots if snapshot.bake == image.bake)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeptImage:
    image: OwnImage
    why: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemovedImage:
    image: OwnImage
    snapshots: tuple[OwnSnapshot, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pruning:
    """`orphans` are snapshots whose image is gone: a removal was cut off between the two."""

    region: str
    prefix: str
    removed: tuple[RemovedImage, ...]
    orphans: tuple[OwnSnapshot, ...]
    kept: tuple[KeptImage, ...]


def ami_tags(spec: ClusterSpec) -> list[str]:
    """The beginnings of names that `ami: latest` stands for: the cluster's first, then the roles' own."""
    images = [spec.ec2.image, *(role.image for role in spec.roles.values())]
    return list(dict.fromkeys(image.ami_tag for image in images if image and image.ami_tag))


def pruning(seen: ObservedImages, *, prefix: str, keep: int) -> Pruning:
    """What goes when of each architecture the `keep` newest available images stay.

    Only what cloister baked under this very prefix; never what an instance runs on, or what is being made.
    """
    ours = newest_first(i for i in seen.images if i.is_cloisters and i.prefix == prefix)
    newest = _first_of_each_architecture([i for i in ours if i.state == _AVAILABLE], keep)
    kept = [KeptImage(image=image, why=why) for image in ours if (why := _why(image, newest, seen))]
    stay = {entry.image.id for entry in kept}
    return Pruning(
        region=seen.region,
        prefix=prefix,
        removed=tuple(
            RemovedImage(image=image, snapshots=seen.snapshots_of(image))
            for image in ours
            if image.id not in stay
        ),
        orphans=tuple(one for one in orphans(seen) if one.prefix == prefix),
        kept=tuple(kept),
    )


def _why(image: OwnImage, newest: Mapping[str, int], seen: ObservedImages) -> str:
    """Why it stays; empty if it does not."""
    if image.state in _BEING_MADE:
        return "it is being made"
    if users := seen.used_by.get(image.id):
        others = len(users) - 1
        return f"{users[0]} and {others} more run on it" if others else f"{users[0]} runs on it"
    if image.id in newest:
        place = newest[image.id]
        return "the newest" if place == 1 else f"number {place} of the newest"
    return ""


def newest_first(images: Iterable[OwnImage]) -> list[OwnImage]:
    """AWS tells the second in which an image was made; of one second the last name counts as the newest."""
    return sorted(images, key=lambda image: (image.created, image.name, image.id), reverse=True)


def _first_of_each_architecture(images: Sequence[OwnImage], keep: int) -> dict[str, int]:
    """Id → its place among those of its architecture, from 1; `ami: latest` chooses within one, too."""
    places: dict[str, int] = {}
    counts: dict[str, int] = {}
    for image in images:
        place = counts[image.architecture] = counts.get(image.architecture, 0) + 1
        if place <= keep:
            places[image.id] = place
    return places


def orphans(seen: ObservedImages) -> Iterable[OwnSnapshot]:
    """Snapshots of images that are gone. One that is still being written has an image, which may only not be seen yet."""
    bakes = {image.bake for image in seen.images if image.bake}
    used = {snapshot for image in seen.images for snapshot in image.snapshots}
    return (
        snapshot
        for snapshot in seen.snapshots
        if snapshot.settled and snapshot.bake not in bakes and snapshot.id not in used
    )
