"""The life of an instance: pending, running, shutting down, gone, each at its time and with its bill and node."""

from __future__ import annotations

import base64

from cloud.bill import MINIMUM_S
from cloud.firewall import admits_caller
from cloud.nodes import Node
from cloud.prices import address_per_s, instance_per_s
from cloud.resources import Instance
from cloud.settings import dealt
from cloud.volumes import release
from cloud.world import World

# How often a closed firewall is looked at again.
FIREWALL_S = 0.1
CODES = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}
_FAILURES = {
    "Server.InternalError": "Internal error on launch",
    "Server.InsufficientInstanceCapacity": "Insufficient capacity available to satisfy instance request",
    "Client.VolumeLimitExceeded": "Volume limit exceeded",
    "Client.InternalError": "Client error on launch",
}
BROKEN = ("Server.InternalError", "Server.InternalError: Internal error on launch")
BY_USER = ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")
BY_GUEST = (
    "Client.InstanceInitiatedShutdown",
    "Client.InstanceInitiatedShutdown: Instance initiated shutdown",
)
RECLAIMED = (
    "Server.SpotInstanceTermination",
    "Server.SpotInstanceTermination: Spot instance termination",
)


def begin(world: World, instance: Instance) -> None:
    """The instance is pending, for the first time or again after it was stopped."""
    if instance.number not in world.settings.never_boots:
        delay_s = dealt(world.settings.boot_s, instance.number)
        world.agenda.after(delay_s, lambda: _run(world, instance))


def end(
    world: World,
    instances: list[Instance],
    *,
    stop: bool,
    reason: tuple[str, str],
    at_s: float | None = None,
) -> None:
    """Stop or terminate; `at_s` is the simulated time at which it happened, if that was not just now."""
    when_s = world.clock.simulated_s if at_s is None else at_s
    for instance in instances:
        _enter(world, instance, "stopping" if stop else "shutting-down")
        instance.reason = reason
        instance.transition = _transition(world, reason)
        instance.lease_end_s = None
        world.bill.stop(instance.id, at_s=when_s)
        world.bill.stop(f"{instance.id} address", at_s=when_s)
    world.agenda.after(
        world.settings.shutdown_s, lambda: _end_nodes(world, instances, stop, when_s)
    )


def reboot(world: World, instance: Instance) -> None:
    """The address and the state stay; what the guest had planned does not."""
    instance.lease_end_s = None
    world.doors.close([instance.id])
    world.nodes.end([instance.id], remove=False, then=lambda: _power_on(world, instance))


def seen_state(world: World, instance: Instance) -> str:
    """The state as describes show it: with `stale_s`, that of so long ago."""
    until_s = world.clock.now().real_s - world.settings.stale_s
    states = [state for at_s, state in instance.history if at_s <= until_s]
    return states[-1] if states else instance.history[0][1]


def shown_state(state: str) -> dict[str, object]:
    return {"Code": CODES[state], "Name": state}


def _run(world: World, instance: Instance) -> None:
    if instance.state != "pending":
        return
    if instance.number in world.settings.fails_at_launch:
        code = world.settings.launch_failure
        instance.reason, instance.transition = (code, f"{code}: {_FAILURES[code]}"), code
        _finish(world, [instance], False, world.clock.simulated_s)
        return
    _enter(world, instance, "running")
    _start_bill(world, instance)
    _power_on(world, instance)


def _power_on(world: World, instance: Instance) -> None:
    if instance.state != "running":
        return
    node = None if world.settings.api_only else _node(world, instance)
    if node is not None:
        world.nodes.boot(node)
    delay_s = dealt(world.settings.ssh_after_s, instance.number)
    world.agenda.after(delay_s, lambda: _open(world, instance, node))


def _open(world: World, instance: Instance, node: Node | None) -> None:
    """Behind a closed firewall the sshd does not start: a caller sees as little as on EC2."""
    if instance.state != "running":
        return
    if not world.settings.firewall or admits_caller(world, instance):
        instance.opened_s = world.clock.now().wall_s
        if node is not None:
            world.nodes.open(node)
        else:
            world.doors.open(instance.id, instance.address, world.settings.ssh_port)
    else:
        world.agenda.after(FIREWALL_S, lambda: _open(world, instance, node))


def _node(world: World, instance: Instance) -> Node:
    keys = world.region(instance.region).keys.values()
    return Node(
        name=instance.id,
        address=instance.address,
        port=world.settings.ssh_port,
        authorized_key=next((one.material for one in keys if one.name == instance.key_name), ""),
        user_data=base64.b64decode(instance.user_data),
        image=world.nodes.saved(instance.image),
        refused=world.settings.ssh_refuses_first,
    )


def _end_nodes(world: World, instances: list[Instance], stop: bool, at_s: float) -> None:
    def ended() -> None:
        with world.lock:
            _finish(world, instances, stop, at_s)

    names = [one.id for one in instances]
    world.doors.close(names)
    world.nodes.end(names, remove=not stop, then=ended)


def _finish(world: World, instances: list[Instance], stop: bool, at_s: float) -> None:
    for instance in instances:
        if stop and instance.state != "stopping":
            # It has been terminated meanwhile.
            continue
        _enter(world, instance, "stopped" if stop else "terminated")
        if not stop:
            instance.terminated_s = at_s
            release(world, instance, at_s)
            _close_spot_request(world, instance)


def _close_spot_request(world: World, instance: Instance) -> None:
    request = world.region(instance.region).spot_requests.get(instance.spot_request)
    if request is not None:
        request.state = "closed"
        by_us = instance.reason == RECLAIMED
        request.code = "instance-terminated-no-capacity" if by_us else "instance-terminated-by-user"


def _enter(world: World, instance: Instance, state: str) -> None:
    instance.history.append((world.clock.now().real_s, state))


def _start_bill(world: World, instance: Instance) -> None:
    now_s = world.clock.simulated_s
    world.bill.start(
        instance.id,
        dollars_per_s=instance_per_s(instance.type, instance.region, instance.market),
        at_s=now_s,
        minimum_s=MINIMUM_S,
    )
    if instance.public:
        world.bill.start(f"{instance.id} address", dollars_per_s=address_per_s(), at_s=now_s)


def _transition(world: World, reason: tuple[str, str]) -> str:
    if reason == BY_USER:
        date = world.clock.shown(world.clock.now())
        return f"User initiated ({date:%Y-%m-%d %H:%M:%S} GMT)"
    return reason[0]
