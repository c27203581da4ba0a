"""Terminating, stopping, starting and rebooting instances, and what else is said about one afterwards."""

from __future__ import annotations

import base64
from typing import Any

from cloud import timeline, volumes
from cloud.describing import find, find_all
from cloud.refusals import Refusal, invalid_value, missing, not_simulated
from cloud.resources import Instance, Region
from cloud.timeline import shown_state
from cloud.world import World

IDS_MAX = 1000


def terminate_instances(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    """All, or none if one id is wrong or one instance is protected."""
    instances = _named(world, region, asked)
    for instance in instances:
        if instance.protected and instance.alive:
            raise Refusal(
                "OperationNotPermitted",
                f"The instance '{instance.id}' may not be terminated. Modify its "
                "'disableApiTermination' instance attribute and try again.",
            )
    changed = _changing(instances, ("pending", "running", "stopping", "stopped"))
    before = {one.id: one.state for one in instances}
    if changed:
        timeline.end(world, changed, stop=False, reason=timeline.BY_USER)
    return {"TerminatingInstances": [_change(one, before[one.id]) for one in instances]}


def stop_instances(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    instances = _named(world, region, asked)
    for instance in instances:
        if instance.market == "spot":
            raise Refusal(
                "UnsupportedOperation",
                f"You can't stop the Spot Instance '{instance.id}' because it is associated with a "
                "one-time Spot Instance request.",
            )
        if instance.state not in ("running", "stopping", "stopped"):
            raise _wrong_state(instance, "stopped")
    before = {one.id: one.state for one in instances}
    if changed := _changing(instances, ("running",)):
        timeline.end(world, changed, stop=True, reason=timeline.BY_USER)
    return {"StoppingInstances": [_change(one, before[one.id]) for one in instances]}


def start_instances(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    instances = _named(world, region, asked)
    for instance in instances:
        if instance.state not in ("pending", "running", "stopped"):
            raise _wrong_state(instance, "started")
    before = {one.id: one.state for one in instances}
    for instance in _changing(instances, ("stopped",)):
        instance.history.append((world.clock.now().real_s, "pending"))
        instance.reason = None
        timeline.begin(world, instance)
    return {"StartingInstances": [_change(one, before[one.id]) for one in instances]}


def reboot_instances(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    for instance in _named(world, region, asked):
        if instance.state == "running":
            timeline.reboot(world, instance)
    return {}


def modify_instance_attribute(
    world: World, region: Region, asked: dict[str, Any]
) -> dict[str, Any]:
    instance = find(world, region, asked["InstanceId"])
    match {name: value for name, value in asked.items() if name not in ("InstanceId", "DryRun")}:
        case {"DisableApiTermination": {"Value": bool(value)}, **rest} if not rest:
            instance.protected = value
        case {
            "InstanceInitiatedShutdownBehavior": {"Value": "stop" | "terminate" as value},
            **rest,
        } if not rest:
            instance.at_shutdown = value
        case {"BlockDeviceMappings": [*mappings], **rest} if not rest:
            for mapping in mappings:
                volumes.keep_with(region, instance, mapping)
        case {"Groups": [*ids], **rest} if not rest:
            instance.groups = tuple(ids)
        case other:
            raise not_simulated("ModifyInstanceAttribute", details=f"of {', '.join(other)}")
    return {}


def describe_instance_attribute(
    world: World, region: Region, asked: dict[str, Any]
) -> dict[str, Any]:
    instance = find(world, region, asked["InstanceId"])
    match asked.get("Attribute"):
        case "userData":
            shown: dict[str, Any] = {"UserData": {"Value": instance.user_data or None}}
        case "instanceInitiatedShutdownBehavior":
            shown = {"InstanceInitiatedShutdownBehavior": {"Value": instance.at_shutdown}}
        case "disableApiTermination":
            shown = {"DisableApiTermination": {"Value": instance.protected}}
        case "instanceType":
            shown = {"InstanceType": {"Value": instance.type}}
        case other:
            raise not_simulated("DescribeInstanceAttribute", details=f"of {other}")
    return {"InstanceId": instance.id, **shown}


def get_console_output(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    """The host key is there from the boot on, between the lines in which cloud-init writes it."""
    instance = find(world, region, asked["InstanceId"])
    key = world.nodes.host_key(instance.id) if instance.state == "running" else ""
    lines = ["[    0.000000] Linux version 6.8.0-1015-aws"] if instance.state != "pending" else []
    if key:
        lines += ["-----BEGIN SSH HOST KEY KEYS-----", key, "-----END SSH HOST KEY KEYS-----"]
    text = "".join(f"{line}\r\n" for line in lines)
    return {
        "InstanceId": instance.id,
        "Timestamp": world.clock.shown(world.clock.now()),
        "Output": base64.b64encode(text.encode()).decode(),
    }


def _named(world: World, region: Region, asked: dict[str, Any]) -> list[Instance]:
    ids = asked.get("InstanceIds", [])
    if not ids:
        raise missing("InstanceId")
    if len(ids) > IDS_MAX:
        raise invalid_value(f"At most {IDS_MAX} instances can be named in one call")
    return find_all(world, region, list(dict.fromkeys(ids)))


def _changing(instances: list[Instance], states: tuple[str, ...]) -> list[Instance]:
    return [one for one in instances if one.state in states]


def _change(instance: Instance, before: str) -> dict[str, Any]:
    return {
        "InstanceId": instance.id,
        "PreviousState": shown_state(before),
        "CurrentState": shown_state(instance.state),
    }


def _wrong_state(instance: Instance, verb: str) -> Refusal:
    return Refusal(
        "IncorrectInstanceState",
        f"The instance '{instance.id}' is not in a state from which it can be {verb}.",
    )
