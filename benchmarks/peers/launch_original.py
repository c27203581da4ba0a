"""What the first cloister does to launch and to destroy, written anew after its behaviour.

The driver comes first, then the workers in one call; each instance is asked about by itself every ten
seconds until it runs. Nothing waits for SSH: five files are then copied to every node, each by an scp
that nobody waits for, and the key to the driver by one that must succeed. Instead of those copies each
node is tried once, which costs less.
"""

from __future__ import annotations

import time
from typing import Any

import boto3
from launch_order import Order, Outcome, carry_out, greets

_PAUSE_S = 10.0
_EVERYWHERE = [{"CidrIp": "0.0.0.0/0"}]
_PORTS = ((22, 22), (8080, 8081), (0, 65535))
_RULES = [
    {"IpProtocol": "tcp", "FromPort": first, "ToPort": last, "IpRanges": _EVERYWHERE}
    for first, last in _PORTS
]
_PLACEMENT_GROUP = "clamor"
_ACTIVE = ("pending", "running", "stopping", "stopped")


class NotReached(Exception):
    """The copy of the key to the driver has failed."""


def launch(order: Order) -> Outcome:
    ec2 = boto3.resource("ec2", region_name=order.region)
    if _found(ec2, order):
        return Outcome()
    driver = _launched(ec2, order, "driver", 1)
    workers = _launched(ec2, order, "workers", order.nodes - 1)
    answering = sum(_copied_to(instance, order) for instance in (*driver, *workers))
    if not _copied_to(driver[0], order):
        raise NotReached(f"scp of the key to {driver[0].public_dns_name}")
    return Outcome(answering=answering)


def destroy(order: Order) -> Outcome:
    ec2 = boto3.resource("ec2", region_name=order.region)
    instances = _found(ec2, order)
    for instance in instances:
        instance.terminate()
    while any(one.state["Name"] in (*_ACTIVE, "shutting-down") for one in instances):
        time.sleep(_PAUSE_S)
        for instance in instances:
            instance.reload()
    for role in ("driver", "workers") if instances else ():
        group = _group(ec2, order, role)
        group.revoke_ingress(IpPermissions=_RULES)
        group.revoke_egress(IpPermissions=_RULES)
        group.delete()
    return Outcome()


def _found(ec2: Any, order: Order) -> list[Any]:
    """The cluster's instances; none unless there are both a driver and workers."""
    groups = [_group(ec2, order, role).group_name for role in ("driver", "workers")]
    active = [one for one in ec2.instances.all() if one.state["Name"] in _ACTIVE]
    members = [
        [one for one in active if name in [entry["GroupName"] for entry in one.security_groups]]
        for name in groups
    ]
    return [one for some in members for one in some] if all(members) else []


def _group(ec2: Any, order: Order, role: str) -> Any:
    name = f"{order.name}-{role}"
    for group in ec2.security_groups.all():
        if group.group_name == name:
            return group
    group = ec2.create_security_group(GroupName=name, Description="EC2 group")
    group.authorize_ingress(IpPermissions=_RULES)
    group.authorize_egress(IpPermissions=_RULES)
    return group


def _launched(ec2: Any, order: Order, role: str, count: int) -> list[Any]:
    (image,) = ec2.images.filter(ImageIds=[order.image])
    name = _group(ec2, order, role).group_name
    instances = ec2.create_instances(
        ImageId=order.image,
        KeyName=order.key_pair,
        SecurityGroups=[name],
        InstanceType="c7i.large",
        MinCount=count,
        MaxCount=count,
        BlockDeviceMappings=[{"DeviceName": image.root_device_name, "Ebs": {"VolumeSize": 30}}],
        Placement={"GroupName": _PLACEMENT_GROUP},
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]},
        ],
    )
    while any(one.state["Name"] != "running" for one in instances):
        time.sleep(_PAUSE_S)
        for instance in instances:
            instance.reload()
    return list(instances)


def _copied_to(instance: Any, order: Order) -> bool:
    try:
        return greets(instance.public_ip_address, order.port)
    except OSError:
        return False


if __name__ == "__main__":
    carry_out({"launch": launch, "destroy": destroy})
