"""Images: public ones under another id in each region, the account's own, and the snapshots behind them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from cloud.clock import Moment
from cloud.resources import Image

OWN = "123456789012"
CANONICAL = "099720109477"
DEBIAN = "136693071363"
AMAZON = "137112412989"
# Somebody who gave images the names of Canonical's, newer than all of them: who asks for an image
# by name and not by owner gets this one. https://securitylabs.datadoghq.com/articles/whoami-a-cloud-image-name-confusion-attack/
STRANGER = "666666666666"
ALIASES = {"amazon": AMAZON, "self": OWN}

ARCHITECTURES = ("x86_64", "arm64")
_DEBIAN_NAMES = {"x86_64": "amd64", "arm64": "arm64"}
_UBUNTU = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-{machine}-server-{date}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Release:
    owner: str
    name: str
    dates: tuple[str, ...]
    root_device: str


_RELEASES = (
    _Release(
        owner=CANONICAL,
        name=_UBUNTU,
        dates=("20250610", "20251022", "20250821"),
        root_device="/dev/sda1",
    ),
    _Release(
        owner=DEBIAN,
        name="debian-12-{machine}-{date}-2210",
        dates=("20250814", "20251006"),
        root_device="/dev/xvda",
    ),
    _Release(
        owner=AMAZON,
        name="al2023-ami-2023.9.{date}.0-kernel-6.1-{architecture}",
        dates=("20250929", "20251110"),
        root_device="/dev/xvda",
    ),
    _Release(owner=STRANGER, name=_UBUNTU, dates=("20991231",), root_device="/dev/sda1"),
)


def given_images(region: str, own: Iterable[Mapping[str, Any]], now: Moment) -> dict[str, Image]:
    """All images that nobody has to make: the public ones, and those of the setting `images`."""
    old = dataclasses.replace(now, real_s=0.0)
    images = [*_public(region, old), *_chosen(region, own, old)]
    return {image.id: image for image in images}


def newest(images: Iterable[Image], owner: str, architecture: str) -> Image:
    found = [one for one in images if (one.owner, one.architecture) == (owner, architecture)]
    return max(found, key=lambda image: image.created_text)


def image_id(region: str, name: str) -> str:
    return f"ami-0{hashlib.sha256(f'{region} {name}'.encode()).hexdigest()[:16]}"


def _public(region: str, old: Moment) -> list[Image]:
    return [
        _image(region, release, architecture, date, old)
        for release in _RELEASES
        for architecture in ARCHITECTURES
        for date in release.dates
    ]


def _image(region: str, release: _Release, architecture: str, date: str, old: Moment) -> Image:
    name = release.name.format(
        machine=_DEBIAN_NAMES[architecture], architecture=architecture, date=date
    )
    return Image(
        id=image_id(region, f"{release.owner}/{name}"),
        tags={},
        created=old,
        name=name,
        description="",
        owner=release.owner,
        created_text=f"{date[:4]}-{date[4:6]}-{date[6:]}T08:00:00.000Z",
        state="available",
        architecture=architecture,
        root_device=release.root_device,
        snapshot="",
        source="",
        given=True,
    )


def _chosen(region: str, own: Iterable[Mapping[str, Any]], old: Moment) -> list[Image]:
    return [
        Image(
            id=str(one.get("id") or image_id(region, str(one["name"]))),
            tags=dict(one.get("tags", {})),
            created=old,
            name=str(one["name"]),
            description="",
            owner=ALIASES.get(str(one["owner"]), str(one["owner"])),
            created_text=str(one["created"]),
            state=str(one.get("state", "available")),
            architecture=str(one.get("architecture", "x86_64")),
            root_device=str(one.get("root_device_name", "/dev/sda1")),
            snapshot="",
            source="",
            given=True,
        )
        for one in own
        if one.get("region", region) in (region, "*")
    ]
