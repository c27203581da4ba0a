"""Tags: those that come with a creation, and CreateTags, DeleteTags and DescribeTags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cloud.filters import filtered, page
from cloud.refusals import Refusal, invalid_value
from cloud.resources import Region, Resource, Tags
from cloud.world import World

TAGS_MAX = 50
KEY_MAX = 128
VALUE_MAX = 256

_KINDS = {
    "instances": "instance",
    "volumes": "volume",
    "groups": "security-group",
    "keys": "key-pair",
    "placement_groups": "placement-group",
    "images": "image",
    "snapshots": "snapshot",
    "addresses": "elastic-ip",
    "spot_requests": "spot-instances-request",
}
_UNKNOWN = {
    "instances": "InvalidInstanceID.NotFound",
    "volumes": "InvalidVolume.NotFound",
    "groups": "InvalidGroup.NotFound",
    "keys": "InvalidKeyPair.NotFound",
    "placement_groups": "InvalidPlacementGroup.Unknown",
    "images": "InvalidAMIID.NotFound",
    "snapshots": "InvalidSnapshot.NotFound",
    "addresses": "InvalidAllocationID.NotFound",
    "spot_requests": "InvalidSpotInstanceRequestID.NotFound",
}
_PREFIXES = {
    "i": "instances",
    "vol": "volumes",
    "sg": "groups",
    "key": "keys",
    "pg": "placement_groups",
    "ami": "images",
    "snap": "snapshots",
    "eipalloc": "addresses",
    "sir": "spot_requests",
}


def specified(asked: Mapping[str, Any], *kinds: str) -> dict[str, Tags]:
    """The tags of a creation, for each of the kinds of resources that it creates."""
    tags: dict[str, Tags] = {kind: {} for kind in kinds}
    for one in asked.get("TagSpecifications", []):
        kind = one.get("ResourceType", "")
        if kind not in tags:
            raise invalid_value(
                f"'{kind}' is not a valid taggable resource type for this operation."
            )
        if tags[kind]:
            raise invalid_value(f"Duplicate resource type '{kind}' in tag specifications.")
        tags[kind] = tags_of(one.get("Tags", []))
    return tags


def tags_of(given: Sequence[Mapping[str, str]]) -> Tags:
    tags: Tags = {}
    for tag in given:
        key, value = tag.get("Key", ""), tag.get("Value", "")
        if key in tags:
            raise invalid_value(f"Duplicate tag key '{key}' specified.")
        _check(key, value)
        tags[key] = value
    if len(tags) > TAGS_MAX:
        raise Refusal("TagLimitExceeded", f"More than {TAGS_MAX} tags specified")
    return tags


def listed(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def create_tags(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    tags = tags_of(asked.get("Tags", []))
    for resource in [_find(world, region, one) for one in asked["Resources"]]:
        resource.tags.update(tags)
    return {}


def delete_tags(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    """A tag is deleted if the value matches too, or none is given; without any tags, all are."""
    for resource in [_find(world, region, one) for one in asked["Resources"]]:
        for tag in asked.get("Tags", listed(resource.tags)):
            if tag.get("Value") in (None, resource.tags.get(tag["Key"])):
                resource.tags.pop(tag["Key"], None)
    return {}


def describe_tags(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    attributes = {
        "key": lambda tag: tag["Key"],
        "value": lambda tag: tag["Value"],
        "resource-id": lambda tag: tag["ResourceId"],
        "resource-type": lambda tag: tag["ResourceType"],
    }
    found = filtered(
        list(_all(world, region)),
        asked.get("Filters", []),
        attributes,
        lambda tag: {tag["Key"]: tag["Value"]},
    )
    shown, token = page(found, asked, size=world.settings.page_size)
    return {"Tags": shown, "NextToken": token}


def _all(world: World, region: Region) -> Iterator[dict[str, str]]:
    for table, kind in _KINDS.items():
        resources: Iterable[Resource] = world.listed(getattr(region, table))
        for one in resources:
            for tag in listed(one.tags):
                yield {**tag, "ResourceId": one.id, "ResourceType": kind}


def _find(world: World, region: Region, resource_id: str) -> Resource:
    table = _PREFIXES.get(resource_id.split("-")[0])
    if table is None:
        raise Refusal("InvalidID", f"The ID '{resource_id}' is not valid")
    found: Resource = world.find(
        getattr(region, table),
        resource_id,
        lambda key: Refusal(_UNKNOWN[table], f"The ID '{key}' does not exist"),
    )
    return found


def _check(key: str, value: str) -> None:
    if not 0 < len(key) <= KEY_MAX:
        raise invalid_value(f"Tag keys have 1 to {KEY_MAX} characters, not {len(key)}: '{key}'")
    if len(value) > VALUE_MAX:
        raise invalid_value(f"Tag value exceeds the maximum length of {VALUE_MAX} characters")
    if key.lower().startswith("aws:"):
        raise invalid_value("Tag keys starting with 'aws:' are reserved for internal use")
