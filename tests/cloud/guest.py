"""What a guest does to itself: `shutdown` in a node, as the simulation carries it out."""

from __future__ import annotations

from cloud import timeline
from cloud.resources import Instance
from cloud.world import World

MINUTE_S = 60.0


def heard(world: World, instance_id: str, verb: str, minutes: int) -> None:
    """A guest has said `verb`; a later word replaces what it said before."""
    with world.lock:
        try:
            instance = world.instance(instance_id)
        except KeyError:
            return
        if verb == "cancel":
            instance.lease_end_s = None
            return
        end_s = instance.lease_end_s = world.clock.simulated_s + minutes * MINUTE_S
        world.agenda.at(end_s, lambda: _due(world, instance, end_s, verb))


def _due(world: World, instance: Instance, end_s: float, verb: str) -> None:
    if instance.lease_end_s != end_s or instance.state != "running":
        return
    if verb == "reboot":
        timeline.reboot(world, instance)
    else:
        # One-time spot requests cannot be stopped.
        stop = instance.at_shutdown == "stop" and instance.market != "spot"
        timeline.end(world, [instance], stop=stop, reason=timeline.BY_GUEST, at_s=end_s)
