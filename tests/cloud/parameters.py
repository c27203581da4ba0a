"""Systems Manager's public parameters that name images."""

from __future__ import annotations

from typing import Any

from cloud.images import AMAZON, CANONICAL, DEBIAN, newest
from cloud.refusals import Refusal, invalid_value
from cloud.resources import Region
from cloud.world import World

_UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current"
_DEBIAN = "/aws/service/debian/release/12/latest"
_AMAZON = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default"
_IMAGES = {
    f"{_UBUNTU}/amd64/hvm/ebs-gp3/ami-id": (CANONICAL, "x86_64"),
    f"{_UBUNTU}/arm64/hvm/ebs-gp3/ami-id": (CANONICAL, "arm64"),
    f"{_DEBIAN}/amd64": (DEBIAN, "x86_64"),
    f"{_DEBIAN}/arm64": (DEBIAN, "arm64"),
    f"{_AMAZON}-x86_64": (AMAZON, "x86_64"),
    f"{_AMAZON}-arm64": (AMAZON, "arm64"),
}


def image_id(region: Region, name: str) -> str:
    """What `resolve:ssm:` stands for in a launch."""
    if name not in _IMAGES:
        raise invalid_value(f"The parameter '{name}' cannot be resolved to an image")
    return newest(region.images.values(), *_IMAGES[name]).id


def get_parameter(_: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    if asked["Name"] not in _IMAGES:
        raise Refusal("ParameterNotFound", f"Parameter {asked['Name']} not found.")
    return {"Parameter": _shown(region, asked["Name"])}


def get_parameters(_: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    names = asked["Names"]
    return {
        "Parameters": [_shown(region, name) for name in names if name in _IMAGES],
        "InvalidParameters": [name for name in names if name not in _IMAGES],
    }


def _shown(region: Region, name: str) -> dict[str, Any]:
    return {
        "Name": name,
        "Type": "String",
        "Value": image_id(region, name),
        "Version": 1,
        "DataType": "aws:ec2:image",
        "ARN": f"arn:aws:ssm:{region.name}::parameter{name}",
    }
