"""With what each call is tried when nothing is to happen; pure."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from cloister.config.spec import ClusterSpec
from cloister.providers.ec2 import tags
from cloister.providers.ec2.launch import access
from cloister.providers.ec2.launch.claim import group_name
from cloister.providers.ec2.launch.placement import placement_group_name
from cloister.providers.ec2.money.prices import SERVICE_REGION
from cloister.providers.ec2.permission.permissions import Call
from cloister.providers.ec2.tags import Identity
from cloister.providers.keys import new_key_pair

# Well formed, as AWS's own examples are, and nobody's.
NOTHING = "0123456789abcdef0"
DEFAULT_VPC = [{"Name": "is-default", "Values": ["true"]}]
_QUOTA = "L-1216C47A"
# Any public parameter will do.
_PARAMETER = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
# boto3's name of a service, where it is not IAM's.
_SERVICES = {"servicequotas": "service-quotas"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """A region as its calls are tried: ids of the cluster's own things where there are some, else of NOTHING."""

    spec: ClusterSpec
    identity: Identity
    region: str
    machines: tuple[str, ...]
    vpc: str
    group: str
    instance: str
    interface: str
    volume: str
    image: str
    snapshot: str
    key_pair: str
    placement_group: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    service: str
    region: str
    action: str
    parameters: Mapping[str, Any]

    @property
    def is_about_nothing(self) -> bool:
        return NOTHING in json.dumps(self.parameters, default=str)


def dry_request(call: Call, scene: Scene) -> Request | None:
    """None for what cannot be tried without doing it. RunInstances is none of this module's."""
    make = _PARAMETERS.get(call.permission)
    if make is None:
        return None
    parameters = make(scene) if call.reads else {**make(scene), "DryRun": True}
    return Request(
        service=_SERVICES.get(call.service, call.service),
        region=SERVICE_REGION if call.service == "pricing" else scene.region,
        action="".join(f"_{c.lower()}" if c.isupper() else c for c in call.action).lstrip("_"),
        parameters=parameters,
    )


def or_nothing(ids: list[str], prefix: str) -> str:
    return ids[0] if ids else f"{prefix}-{NOTHING}"


def _ours(scene: Scene) -> dict[str, Any]:
    return {"Filters": tags.of_cluster(scene.spec.name)}


def _marks(scene: Scene, kind: str) -> dict[str, Any]:
    marks = scene.identity.tags()
    return {"TagSpecifications": tags.specification([kind], marks)}


def _rules(scene: Scene) -> dict[str, Any]:
    # An address of the documentation's network: nobody has it.
    ranges = [{"CidrIp": "192.0.2.1/32"}]
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": ranges}
    return {"GroupId": scene.group, "IpPermissions": [rule]}


def _attached(scene: Scene) -> dict[str, Any]:
    return {"VolumeId": scene.volume, "InstanceId": scene.instance, "Device": "/dev/sdf"}


def _ends_with_node(scene: Scene) -> dict[str, Any]:
    mapping = {"DeviceName": "/dev/sdf", "Ebs": {"DeleteOnTermination": True}}
    return {"InstanceId": scene.instance, "BlockDeviceMappings": [mapping]}


_PARAMETERS: Mapping[str, Callable[[Scene], dict[str, Any]]] = {
    "ec2:DescribeRegions": lambda scene: {},
    "ec2:DescribeVpcs": lambda scene: {"Filters": DEFAULT_VPC},
    "ec2:DescribeSubnets": lambda scene: {"Filters": [{"Name": "vpc-id", "Values": [scene.vpc]}]},
    "ec2:DescribeInstanceTypes": lambda scene: {"InstanceTypes": list(scene.machines)},
    "ec2:DescribeInstanceTypeOfferings": lambda scene: {
        "LocationType": "availability-zone",
        "Filters": [{"Name": "instance-type", "Values": list(scene.machines)}],
    },
    "ec2:DescribeImages": lambda scene: {"Owners": ["self"]},
    "ec2:DescribeInstances": _ours,
    "ec2:DescribeTags": lambda scene: {"Filters": [{"Name": "key", "Values": [tags.CLUSTER]}]},
    "ec2:DescribeVolumes": _ours,
    "ec2:DescribeNetworkInterfaces": _ours,
    "ec2:DescribePlacementGroups": _ours,
    "ec2:DescribeKeyPairs": _ours,
    "ec2:DescribeSecurityGroups": _ours,
    "ec2:DescribeSpotPriceHistory": lambda scene: {
        "InstanceTypes": list(scene.machines),
        "ProductDescriptions": ["Linux/UNIX"],
        "StartTime": time.time(),
    },
    "ec2:DescribeSnapshots": lambda scene: {"OwnerIds": ["self"]},
    "pricing:GetProducts": lambda scene: {"ServiceCode": "AmazonEC2", "MaxResults": 1},
    "servicequotas:GetServiceQuota": lambda scene: {"ServiceCode": "ec2", "QuotaCode": _QUOTA},
    "ssm:GetParameter": lambda scene: {"Name": _PARAMETER},
    "scheduler:ListSchedules": lambda scene: {"MaxResults": 1},
    "ec2:CreateSecurityGroup": lambda scene: {
        "GroupName": group_name(scene.spec.name),
        "Description": f"cloister cluster {scene.spec.name}",
        "VpcId": scene.vpc,
        **_marks(scene, "security-group"),
    },
    "ec2:ImportKeyPair": lambda scene: {
        "KeyName": access.key_name(scene.spec.name),
        "PublicKeyMaterial": new_key_pair().public,
        **_marks(scene, "key-pair"),
    },
    "ec2:CreatePlacementGroup": lambda scene: {
        "GroupName": placement_group_name(scene.spec.name, next(iter(scene.spec.roles), "")),
        "Strategy": "cluster",
        **_marks(scene, "placement-group"),
    },
    "ec2:CreateVolume": lambda scene: {
        "AvailabilityZone": f"{scene.region}a",
        "Size": 1,
        "VolumeType": "gp3",
        **_marks(scene, "volume"),
    },
    "ec2:CreateImage": lambda scene: {
        "InstanceId": scene.instance,
        "Name": f"{group_name(scene.spec.name)}-rehearsal",
        "TagSpecifications": tags.specification(
            ["image", "snapshot"], {tags.IMAGE: scene.spec.name}
        ),
    },
    "ec2:AuthorizeSecurityGroupIngress": _rules,
    "ec2:RevokeSecurityGroupIngress": _rules,
    "ec2:CreateTags": lambda scene: {
        "Resources": [scene.group],
        "Tags": tags.tag_list({tags.EXPIRES: str(scene.identity.expires)}),
    },
    "ec2:TerminateInstances": lambda scene: {"InstanceIds": [scene.instance]},
    "ec2:DeleteSecurityGroup": lambda scene: {"GroupId": scene.group},
    "ec2:DeleteKeyPair": lambda scene: {"KeyName": scene.key_pair},
    "ec2:DeletePlacementGroup": lambda scene: {"GroupName": scene.placement_group},
    "ec2:DeleteVolume": lambda scene: {"VolumeId": scene.volume},
    "ec2:DeleteNetworkInterface": lambda scene: {"NetworkInterfaceId": scene.interface},
    "ec2:AttachVolume": _attached,
    "ec2:ModifyInstanceAttribute": _ends_with_node,
    "ec2:DeregisterImage": lambda scene: {"ImageId": scene.image},
    "ec2:DeleteSnapshot": lambda scene: {"SnapshotId": scene.snapshot},
}
