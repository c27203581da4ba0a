"""Whether the rules of an instance's groups let its user in."""

from __future__ import annotations

import ipaddress

from cloud.resources import Instance, Rule
from cloud.world import World

CALLER = ipaddress.ip_address("127.0.0.1")
SSH_PORT = 22


def admits_caller(world: World, instance: Instance) -> bool:
    """For SSH: callers name either the port on which nodes listen here, or the one of EC2's images."""
    groups = world.region(instance.region).groups
    rules = [rule for one in instance.groups if one in groups for rule in groups[one].rules]
    return any(
        _admits(rule, port) for rule in rules for port in (world.settings.ssh_port, SSH_PORT)
    )


def _admits(rule: Rule, port: int) -> bool:
    if rule.egress or not rule.cidr or rule.protocol not in ("tcp", "6", "-1"):
        return False
    within = rule.protocol == "-1" or rule.from_port <= port <= rule.to_port
    return within and CALLER in ipaddress.ip_network(rule.cidr)
