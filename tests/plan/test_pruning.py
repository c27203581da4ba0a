from __future__ import annotations

from typing import Any

import pytest

from cloister.config.spec import ClusterSpec
from cloister.plan.images import ObservedImages, OwnImage, OwnSnapshot, ami_tags, pruning


def image(number: int, **changes: Any) -> OwnImage:
    """The larger its number, the newer; baked under `base` unless the changes say otherwise."""
    fields: dict[str, Any] = {
        "id": f"ami-{number}",
        "name": f"base-{number}",
        "region": "us-east-1",
        "state": "available",
        "architecture": "x86_64",
        "created": float(number),
        "gib": 8,
        "prefix": "base",
        "bake": f"bake-{number}",
    }
    return OwnImage(**{**fields, **changes})


def snapshot(number: int, **changes: Any) -> OwnSnapshot:
    """Of the image with that number."""
    fields: dict[str, Any] = {
        "id": f"snap-{number}",
        "region": "us-east-1",
        "gib": 8,
        "prefix": "base",
        "bake": f"bake-{number}",
        "settled": True,
    }
    return OwnSnapshot(**{**fields, **changes})


def removed(*images: OwnImage, keep: int, **seen: Any) -> list[str]:
    chosen = pruning(
        ObservedImages(region="us-east-1", images=images, **seen), prefix="base", keep=keep
    )
    assert {e.image.id for e in chosen.kept}.isdisjoint(e.image.id for e in chosen.removed)
    return [entry.image.id for entry in chosen.removed]


@pytest.mark.parametrize(
    ("keep", "gone"), [(0, ["ami-3", "ami-2", "ami-1"]), (1, ["ami-2", "ami-1"]), (3, []), (9, [])]
)
def test_the_newest_stay(keep: int, gone: list[str]) -> None:
    assert removed(image(2), image(3), image(1), keep=keep) == gone


def test_each_architecture_keeps_its_newest() -> None:
    arm = {"architecture": "arm64"}
    assert removed(image(1), image(2, **arm), image(3, **arm), keep=1) == ["ami-2"]


@pytest.mark.parametrize(
    "changes", [{"prefix": "", "bake": ""}, {"prefix": "base-gpu"}, {"prefix": "bas"}, {"bake": ""}]
)
def test_what_was_not_baked_under_this_name_is_never_removed(changes: dict[str, str]) -> None:
    assert removed(image(1, **changes), image(2), keep=1) == []
    assert removed(image(1, **changes), keep=0) == []


def test_what_is_not_available_does_not_count_as_one_of_the_newest() -> None:
    failed = image(3, state="failed")
    assert removed(image(1), image(2), failed, keep=1) == ["ami-3", "ami-1"]


def test_what_is_being_made_stays_and_does_not_count() -> None:
    assert removed(image(1), image(2), image(3, state="pending"), keep=1) == ["ami-1"]
    assert removed(image(3, state="pending"), keep=0) == []


def test_what_an_instance_runs_on_stays_and_the_reason_is_said() -> None:
    seen = ObservedImages(
        region="us-east-1",
        images=(image(1), image(2), image(3)),
        used_by={"ami-1": ("i-1",), "ami-2": ("i-2", "i-3", "i-4")},
    )
    chosen = pruning(seen, prefix="base", keep=0)
    assert [entry.image.id for entry in chosen.removed] == ["ami-3"]
    assert [entry.why for entry in chosen.kept] == ["i-2 and 2 more run on it", "i-1 runs on it"]


def test_an_image_goes_with_the_snapshots_of_its_bake() -> None:
    more = snapshot(1, id="snap-1b")
    seen = ObservedImages(
        region="us-east-1", images=(image(1), image(2)), snapshots=(snapshot(1), snapshot(2), more)
    )
    [entry] = pruning(seen, prefix="base", keep=1).removed
    assert [one.id for one in entry.snapshots] == ["snap-1", "snap-1b"]


@pytest.mark.parametrize(
    ("left", "is_orphan"),
    [
        (snapshot(7), True),
        (snapshot(7, settled=False), False),
        (snapshot(7, prefix="other"), False),
        (snapshot(1), False),
        (snapshot(7, id="snap-used"), False),
    ],
    ids=["without image", "being written", "of another name", "of an image", "used by an image"],
)
def test_a_snapshot_without_its_image_goes_too(left: OwnSnapshot, is_orphan: bool) -> None:
    images = (image(1), image(2, prefix="", bake="", snapshots=("snap-used",)))
    seen = ObservedImages(region="us-east-1", images=images, snapshots=(left,))
    assert (left in pruning(seen, prefix="base", keep=5).orphans) is is_orphan


def test_the_names_of_images_come_from_the_cluster_and_its_roles() -> None:
    latest = [{"ami": "latest", "ami_tag": tag} for tag in ("a", "b")]
    roles = {"workers": {"image": latest[1]}, "manager": {"image": "debian-12"}}
    spec = ClusterSpec.model_validate(
        {"name": "c", "provider": "ec2", "roles": roles, "ec2": {"image": latest[0]}}
    )
    assert ami_tags(spec) == ["a", "b"]
