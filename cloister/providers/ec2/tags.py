"""The tags that every resource of a cluster carries from the call that makes it: the truth about what is ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

CLUSTER = "cloister:cluster"
UID = "cloister:uid"
EXPIRES = "cloister:expires"
VERSION = "cloister:version"
ROLES = "cloister:roles"
FIRST = "cloister:first"
USER = "cloister:user"
PORT = "cloister:port"
HOME = "cloister:home"
# Of an image and its snapshots, which belong to no cluster: what its name begins with, and which bake made it.
IMAGE = "cloister:image"
BAKE = "cloister:bake"
# Of a volume: the instance whose swap it is.
SWAP = "cloister:swap"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Identity:
    """`expires` is the end of the lease in Unix seconds, `home` the region whose group decides about all of it.

    version: of the cloister that claimed the name; one that continues its launch must ask for the very same.
    """

    name: str
    uid: str
    expires: int
    home: str
    version: str = ""

    def tags(self) -> dict[str, str]:
        return {
            CLUSTER: self.name,
            UID: self.uid,
            EXPIRES: str(self.expires),
            HOME: self.home,
            VERSION: self.version,
            "Name": f"cloister-{self.name}",
        }


def of_image(prefix: str, bake: str, name: str, version: str) -> dict[str, str]:
    return {IMAGE: prefix, BAKE: bake, VERSION: version, "Name": name}


def identity_of(resource: Mapping[str, Any]) -> Identity | None:
    """From what a describe call says of a resource; None if it is not cloister's."""
    tags = tags_of(resource)
    try:
        return Identity(
            name=tags[CLUSTER],
            uid=tags[UID],
            expires=int(tags[EXPIRES]),
            home=tags[HOME],
            version=tags.get(VERSION, ""),
        )
    except (KeyError, ValueError):
        return None


def tags_of(resource: Mapping[str, Any]) -> dict[str, str]:
    # Network interfaces have them under another name.
    found = resource.get("Tags") or resource.get("TagSet") or ()
    return {tag["Key"]: tag["Value"] for tag in found}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def specification(kinds: Iterable[str], tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """TagSpecifications for these kinds of resources."""
    return [{"ResourceType": kind, "Tags": tag_list(tags)} for kind in kinds]


def of_cluster(name: str | None) -> list[dict[str, Any]]:
    """Filters for all that belongs to the cluster, or to any."""
    if name is None:
        return [{"Name": "tag-key", "Values": [CLUSTER]}]
    return [{"Name": f"tag:{CLUSTER}", "Values": [name]}]
