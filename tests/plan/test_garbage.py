from __future__ import annotations

from typing import Any

import pytest

from cloister.plan.garbage import Belonging, garbage, garbage_images
from cloister.plan.images import ObservedImages, OwnImage, OwnSnapshot

NOW = 1_000_000.0
HOUR_S = 3600
LASTS, OVER = int(NOW) + HOUR_S, int(NOW) - HOUR_S


def thing(kind: str, expires: int = LASTS, uid: str = "c.1", **changes: Any) -> Belonging:
    data: dict[str, Any] = {
        "kind": kind,
        "id": f"{kind}-{uid}",
        "region": "us-east-1",
        "cluster": uid.partition(".")[0],
        "uid": uid,
        "expires": expires,
        "home": "us-east-1",
    }
    return Belonging(**{**data, **changes})


CLAIM = thing("security group", claim=True)
OLD_CLAIM = thing("security group", OVER, claim=True)
CASES: list[tuple[str, list[Belonging], dict[str, str]]] = [
    ("a cluster whose lease runs", [CLAIM, thing("instance"), thing("key pair")], {}),
    ("one that is being launched", [CLAIM], {}),
    (
        "an instance that was told of a longer lease and not marked yet",
        [CLAIM, thing("instance", OVER)],
        {},
    ),
    (
        "a claim that a killed extend left behind its instances",
        [OLD_CLAIM, thing("instance")],
        {},
    ),
    (
        "a cluster to which nobody came back",
        [OLD_CLAIM, thing("key pair", OVER), thing("placement group", OVER)],
        {
            "security group": "its cluster's lease is over",
            "key pair": "its cluster's lease is over",
            "placement group": "its cluster's lease is over",
        },
    ),
    (
        "an instance that did not end itself",
        [OLD_CLAIM, thing("instance", OVER)],
        {
            "security group": "its cluster's lease is over",
            "instance": "it has not ended itself",
        },
    ),
    ("a node a few minutes over time", [thing("instance", int(NOW) - 500)], {}),
    ("a key whose group may not be seen yet", [thing("key pair")], {}),
    (
        "a volume of a cluster that was destroyed",
        [thing("volume", created=NOW - 2 * HOUR_S)],
        {"volume": "its cluster is gone"},
    ),
    ("a young volume", [thing("volume", created=NOW - 60)], {}),
    (
        "a key without its cluster, over",
        [thing("key pair", OVER)],
        {"key pair": "its lease is over"},
    ),
    ("damaged tags", [thing("volume", 0, "", created=NOW - 2 * HOUR_S)], {}),
    ("an instance with the cluster's tag alone", [thing("instance", 0, "", home="")], {}),
    (
        "nodes elsewhere, not told yet of the longer lease that the claim at home tells",
        [CLAIM, thing("instance", OVER, region="eu-west-1")],
        {},
    ),
    (
        "the same name, launched anew",
        [CLAIM, thing("volume", OVER, "c.0")],
        {"volume": "its lease is over"},
    ),
    (
        "a schedule of a cluster that is gone",
        [thing("schedule", 0, "d.7", created=NOW - 2 * HOUR_S)],
        {"schedule": "its cluster is gone"},
    ),
    ("a schedule of one that lasts", [CLAIM, thing("schedule", 0, created=NOW - 9 * HOUR_S)], {}),
]


@pytest.mark.parametrize(("found", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_nobody_needs(found: list[Belonging], expected: dict[str, str]) -> None:
    assert {one.thing.kind: one.why for one in garbage(found, NOW)} == expected


def test_what_belongs_to_a_home_that_cannot_be_looked_at_stays() -> None:
    found = [thing("instance", OVER, region="eu-west-1"), thing("key pair", OVER)]
    assert garbage(found, NOW, {"us-east-1": "denied"}) == []
    assert len(garbage(found, NOW, {"eu-west-1": "denied"})) == 2


def image(state: str, bake: str) -> OwnImage:
    return OwnImage(
        id=f"ami-{bake}",
        name="base",
        region="us-east-1",
        state=state,
        architecture="x86_64",
        created=NOW,
        gib=8,
        prefix="base" if bake else "",
        bake=bake,
    )


def snapshot(bake: str, *, settled: bool = True) -> OwnSnapshot:
    return OwnSnapshot(
        id=f"snap-{bake}", region="us-east-1", gib=8, prefix="base", bake=bake, settled=settled
    )


def test_images_that_failed_and_snapshots_without_one() -> None:
    seen = ObservedImages(
        region="us-east-1",
        images=(image("available", "b1"), image("failed", "b2"), image("failed", "")),
        snapshots=(
            snapshot("b1"),
            snapshot("b2"),
            snapshot("b3"),
            snapshot("b4", settled=False),
        ),
    )
    found = garbage_images(seen)
    assert [entry.image.id for entry in found.removed] == ["ami-b2"]
    assert [one.id for one in found.removed[0].snapshots] == ["snap-b2"]
    assert [one.id for one in found.orphans] == ["snap-b3"]
