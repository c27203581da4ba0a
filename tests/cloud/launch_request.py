"""What a RunInstances call asks for, checked as AWS checks it before anything is launched."""

from __future__ import annotations

import base64
import binascii
import dataclasses
from typing import Any

from cloud import groups, keys, parameters
from cloud.machine_types import architectures
from cloud.network import Zone
from cloud.placement import asked_group
from cloud.refusals import Refusal, invalid_value, missing, not_simulated
from cloud.resources import Image, PlacementGroup, Region, Tags
from cloud.tags import specified
from cloud.volumes import mappings
from cloud.world import World

DEFAULT_TYPE = "m1.small"
USER_DATA_BYTES_MAX = 16384
_METADATA = {
    "HttpTokens": "optional",
    "HttpPutResponseHopLimit": 1,
    "HttpEndpoint": "enabled",
    "HttpProtocolIpv6": "disabled",
    "InstanceMetadataTags": "disabled",
}
# Kept and shown again, or without any effect that a caller could see here.
_KEPT = ("CpuOptions", "IamInstanceProfile", "EbsOptimized", "Monitoring")
_KNOWN = {
    *_KEPT,
    *("BlockDeviceMappings", "ClientToken", "CreditSpecification", "DisableApiTermination"),
    *("DryRun", "ImageId", "InstanceInitiatedShutdownBehavior", "InstanceMarketOptions"),
    *("InstanceType", "KeyName", "MaxCount", "MetadataOptions", "MinCount", "NetworkInterfaces"),
    *(
        "Placement",
        "SecurityGroupIds",
        "SecurityGroups",
        "SubnetId",
        "TagSpecifications",
        "UserData",
    ),
    *("MaintenanceOptions", "PrivateDnsNameOptions"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """`zone` is the one asked for, if any."""

    image: Image
    type: str
    counts: tuple[int, int]
    market: str
    zone: Zone | None
    key_name: str
    groups: tuple[str, ...]
    public: bool
    placement: dict[str, Any]
    group: PlacementGroup | None
    metadata: dict[str, Any]
    at_shutdown: str
    protected: bool
    user_data: str
    mappings: list[dict[str, Any]]
    tags: dict[str, Tags]
    kept: dict[str, Any]


def zone_asked(world: World, region: Region, asked: dict[str, Any]) -> Zone | None:
    """By the placement or by the subnet; both have to say the same."""
    placement = asked.get("Placement", {})
    name = placement.get("AvailabilityZone") or placement.get("AvailabilityZoneId")
    subnet = asked.get("SubnetId") or _interface(asked).get("SubnetId")
    by_name = world.network.zone(region.name, name) if name else None
    by_subnet = world.network.zone_of_subnet(region.name, subnet) if subnet else None
    if by_name and by_subnet and by_name != by_subnet:
        raise invalid_value("The availability zone and the subnet do not match")
    return by_name or by_subnet


def checked(world: World, region: Region, asked: dict[str, Any]) -> Request:
    """Every way in which the call is wrong is a Refusal."""
    if unknown := sorted(set(asked) - _KNOWN):
        raise not_simulated("RunInstances", details=f"with {', '.join(unknown)}")
    machine_type = asked.get("InstanceType", DEFAULT_TYPE)
    image = _image(world, region, asked)
    _check_architecture(image, machine_type)
    market = _market(asked)
    return Request(
        image=image,
        type=machine_type,
        counts=_counts(asked),
        market=market,
        zone=zone_asked(world, region, asked),
        key_name=keys.named(world, region, asked["KeyName"]).name if asked.get("KeyName") else "",
        groups=_groups(world, region, asked),
        public=_interface(asked).get("AssociatePublicIpAddress", True),
        placement=asked.get("Placement", {}),
        group=asked_group(world, region, asked.get("Placement", {}), machine_type),
        metadata={**_METADATA, **asked.get("MetadataOptions", {})},
        at_shutdown=_at_shutdown(asked),
        protected=asked.get("DisableApiTermination", False),
        user_data=_user_data(asked),
        mappings=mappings(asked, image.root_device),
        tags=specified(asked, "instance", "volume", "network-interface", "spot-instances-request"),
        kept={name: asked[name] for name in _KEPT if name in asked},
    )


def _counts(asked: dict[str, Any]) -> tuple[int, int]:
    for name in ("MinCount", "MaxCount"):
        if name not in asked:
            raise missing(name)
    minimum, maximum = asked["MinCount"], asked["MaxCount"]
    if not 1 <= minimum <= maximum:
        raise invalid_value(
            f"Invalid value '{minimum}' for minCount: 1 to maxCount ({maximum}) is expected"
        )
    return minimum, maximum


def _image(world: World, region: Region, asked: dict[str, Any]) -> Image:
    image_id = asked.get("ImageId") or ""
    if image_id.startswith("resolve:ssm:"):
        image_id = parameters.image_id(region, image_id.removeprefix("resolve:ssm:"))
    if not image_id:
        raise missing("ImageId")
    if not image_id.startswith("ami-"):
        raise Refusal("InvalidAMIID.Malformed", f'Invalid id: "{image_id}" (expecting "ami-...")')
    image = world.find(
        region.images,
        image_id,
        lambda key: Refusal("InvalidAMIID.NotFound", f"The image id '[{key}]' does not exist"),
    )
    if image.state != "available":
        raise Refusal("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is not available")
    return image


def _check_architecture(image: Image, machine_type: str) -> None:
    having = architectures(machine_type)
    if image.architecture not in having:
        raise invalid_value(
            f"The architecture '{','.join(having)}' of the specified instance type does not match "
            f"the architecture '{image.architecture}' of the specified AMI. Specify an instance type "
            "and an AMI that have matching architectures, and try again. You can use "
            "'describe-instance-types' or 'describe-images' to discover the architecture of the "
            "instance type or AMI."
        )


def _market(asked: dict[str, Any]) -> str:
    options = asked.get("InstanceMarketOptions", {})
    if not options:
        return "on-demand"
    if options.get("MarketType") != "spot":
        raise not_simulated("RunInstances", details=f"with the market {options.get('MarketType')}")
    kind = options.get("SpotOptions", {}).get("SpotInstanceType", "one-time")
    if kind != "one-time":
        raise not_simulated("RunInstances", details=f"with {kind} spot requests")
    return "spot"


def _interface(asked: dict[str, Any]) -> dict[str, Any]:
    given = asked.get("NetworkInterfaces", [])
    if len(given) > 1 or any("NetworkInterfaceId" in one for one in given):
        raise not_simulated("RunInstances", details="with more than one new network interface")
    for name, text in (("SubnetId", "subnet ID"), ("SecurityGroupIds", "security groups")):
        if given and name in asked:
            raise Refusal(
                "InvalidParameterCombination",
                f"Network interfaces and an instance-level {text} may not be specified on the "
                "same request",
            )
    return dict(given[0]) if given else {}


def _groups(world: World, region: Region, asked: dict[str, Any]) -> tuple[str, ...]:
    ids = asked.get("SecurityGroupIds") or _interface(asked).get("Groups", [])
    found = [groups.find(world, region, one) for one in ids]
    found += [groups.named(world, region, name) for name in asked.get("SecurityGroups", [])]
    return tuple(one.id for one in found or [groups.named(world, region, "default")])


def _at_shutdown(asked: dict[str, Any]) -> str:
    value = str(asked.get("InstanceInitiatedShutdownBehavior", "stop"))
    if value not in ("stop", "terminate"):
        raise invalid_value(f"Invalid value '{value}' for instanceInitiatedShutdownBehavior")
    return value


def _user_data(asked: dict[str, Any]) -> str:
    text = str(asked.get("UserData", ""))
    try:
        size = len(base64.b64decode(text, validate=True))
    except binascii.Error as error:
        raise invalid_value("Invalid BASE64 encoding of user data.") from error
    if size > USER_DATA_BYTES_MAX:
        raise invalid_value(f"User data is limited to {USER_DATA_BYTES_MAX} bytes")
    return text
