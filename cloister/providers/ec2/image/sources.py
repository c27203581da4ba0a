"""The instance that an image is made of: found by its id, or by the name or address that its user knows."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Any

from cloister.errors import ProviderError, UsageError
from cloister.plan.images import ImageSource
from cloister.providers.ec2 import tags
from cloister.providers.ec2.api import Aws
from cloister.providers.ec2.tags import tags_of

_THERE = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
_BAKED = ("running", "stopped")


def source(aws: Aws, regions: Sequence[str], instance: str) -> ImageSource:
    """`instance` is an id, a DNS name or an IPv4 address, public or private.

    ProviderError if no instance of the account there has it, or one that no image can be made of now;
    UsageError if several have it.
    """
    found = [each for region in regions for each in _found(aws, region, instance)]
    if not found:
        raise ProviderError(
            f"there is no instance {instance} of this account in {', '.join(regions)}",
            hint="cluster.ec2.development.address is its name or address, --instance its id or a node;"
            " another region goes into cluster.ec2.region",
        )
    if len(found) > 1:
        ids = ", ".join(f"{each.instance} in {each.region}" for each in found)
        raise UsageError(f"several instances are {instance}: {ids}", hint="--instance names one")
    if found[0].state not in _BAKED:
        raise ProviderError(
            f"{found[0].instance} in {found[0].region} is {found[0].state}",
            hint=f"images are made of instances that are {' or '.join(_BAKED)}",
        )
    return found[0]


def _found(aws: Aws, region: str, instance: str) -> list[ImageSource]:
    """Of the first way of naming an instance that finds one."""
    for name, value in _ways(instance):
        filters = [{"Name": name, "Values": [value]}, _THERE]
        pages = aws.pages(region, "describe_instances", "Reservations", Filters=filters)
        found = [
            _as_source(entry, region, instance) for page in pages for entry in page["Instances"]
        ]
        if found:
            return found
    return []


def _ways(instance: str) -> Iterator[tuple[str, str]]:
    """Filters to try, one after the other. A name of the user's own leads to an address."""
    if instance.startswith("i-"):
        yield "instance-id", instance
        return
    if not _is_address(instance):
        yield "dns-name", instance
        yield "private-dns-name", instance
        with suppress(OSError):
            address = socket.gethostbyname(instance)
            yield "ip-address", address
            yield "private-ip-address", address
        return
    yield "ip-address", instance
    yield "private-ip-address", instance


def _is_address(text: str) -> bool:
    with suppress(ValueError):
        IPv4Address(text)
        return True
    return False


def _as_source(entry: Mapping[str, Any], region: str, name: str) -> ImageSource:
    return ImageSource(
        instance=entry["InstanceId"],
        region=region,
        name=name,
        state=entry["State"]["Name"],
        cluster=tags_of(entry).get(tags.CLUSTER, ""),
    )
