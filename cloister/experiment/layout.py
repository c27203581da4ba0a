"""Which nodes a trial's processes run on, and the ports that they get there: pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloister.config.spec import ExperimentSpec, ProcessSpec
from cloister.config.validating import nearest_hint
from cloister.experiment.faults import Fault, Key
from cloister.experiment.templates import TemplateError, render, template_fault
from cloister.plan.observed import Node

# Above the ports of services, below those that Linux hands out for outgoing connections
# (net.ipv4.ip_local_port_range begins at 32768).
PORT_FIRST = 20_000
PORT_LAST = 32_767
PORT_MAX = 65_535
COUNT_MAX = 100_000
_SSH_PORT = 22


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slot:
    """The place of one instance: its node, and its ports there."""

    instance: int
    number: int
    node: Node
    ports: Mapping[str, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Where everything runs; with faults, as near as possible to what was asked for.

    `used` has, by role, the nodes that the trial uses; all of a role that no process has.
    """

    slots: Mapping[str, tuple[Slot, ...]]
    used: Mapping[str, tuple[Node, ...]]
    faults: tuple[Fault, ...]


def laid_out(
    spec: ExperimentSpec,
    nodes: Sequence[Node],
    names: Mapping[str, Any],
    taken: Mapping[str, frozenset[int]],
) -> Layout:
    """Every instance on its node, with its ports; `names` are those of `base_names`."""
    faults: list[Fault] = []
    seats = {
        name: _seats(name, process, nodes, names, faults)
        for name, process in spec.processes.items()
    }
    ports = _Ports(nodes, taken)
    _assign_fixed(spec, seats, names, ports, faults)
    _assign_free(spec, seats, ports, faults)
    slots = {
        name: tuple(
            Slot(
                instance=index,
                number=number,
                node=node,
                ports={port: ports.given[(name, index, port)] for port in process.ports},
            )
            for index, (node, number) in enumerate(seats[name])
        )
        for name, process in spec.processes.items()
    }
    return Layout(slots=slots, used=_used(spec, nodes, slots), faults=tuple(faults))


def nodes_of(role: str, nodes: Iterable[Node]) -> list[Node]:
    return [node for node in nodes if role in node.roles]


def _seats(
    name: str,
    process: ProcessSpec,
    nodes: Sequence[Node],
    names: Mapping[str, Any],
    faults: list[Fault],
) -> list[tuple[Node, int]]:
    """The node of each instance, and its number there: dealt out over the nodes in turn."""
    chosen = _chosen(name, process, nodes, names, faults)
    if process.instances is not None:
        count = _count(("processes", name, "instances"), process.instances, names, faults)
    else:
        per_node = _count(("processes", name, "per_node"), process.per_node, names, faults)
        count = per_node * len(chosen)
    if count and not chosen and not faults:
        message = f"there are no nodes for its {count} instances"
        faults.append(Fault(key=("processes", name, "instances"), message=message))
    if not chosen:
        return []
    return [(chosen[i % len(chosen)], i // len(chosen)) for i in range(count)]


def _chosen(
    name: str,
    process: ProcessSpec,
    nodes: Sequence[Node],
    names: Mapping[str, Any],
    faults: list[Fault],
) -> list[Node]:
    available = nodes_of(process.role, nodes)
    if not available and process.nodes != 0:
        roles = dict.fromkeys(role for node in nodes for role in node.roles)
        message = f"the cluster has no node of role {process.role!r}"
        hint = nearest_hint(process.role, roles)
        faults.append(Fault(key=("processes", name, "role"), message=message, hint=hint))
        return []
    if process.nodes is None:
        return available
    key = ("processes", name, "nodes")
    wanted = _count(key, process.nodes, names, faults)
    if wanted > len(available):
        message = f"needs {wanted} nodes of role {process.role!r}, the cluster has {len(available)}"
        hint = f"raise cluster.roles.{process.role}, or sweep over less"
        faults.append(Fault(key=key, message=message, hint=hint, needed=wanted))
    return available[:wanted]


def _count(key: Key, count: int | str, names: Mapping[str, Any], faults: list[Fault]) -> int:
    """The number that a count stands for; 1 in place of a faulty one."""
    if isinstance(count, int):
        return count
    try:
        text = render(count, names)
    except TemplateError as error:
        faults.append(template_fault(key, error))
        return 1
    number = whole_number(text)
    if number is None or not 0 <= number <= COUNT_MAX:
        message = f"expected a whole number from 0 to {COUNT_MAX}, {count!r} gives {text!r}"
        faults.append(Fault(key=key, message=message))
        return 1
    return number


def whole_number(text: str) -> int | None:
    """Also of `4.0`, because a division in a template gives a float."""
    try:
        number = float(text)
        return int(number) if number.is_integer() else None
    except (ValueError, OverflowError):
        return None


def _used(
    spec: ExperimentSpec, nodes: Sequence[Node], slots: Mapping[str, Sequence[Slot]]
) -> dict[str, tuple[Node, ...]]:
    taken: dict[str, set[str]] = {}
    for name, process in spec.processes.items():
        here = taken.setdefault(process.role, set())
        here.update(slot.node.name for slot in slots[name])
    roles = dict.fromkeys(role for node in nodes for role in node.roles)
    return {
        role: tuple(
            node for node in nodes_of(role, nodes) if role not in taken or node.name in taken[role]
        )
        for role in roles
    }


# --- ports ---------------------------------------------------------------------------------------


class _Ports:
    """Hands out port numbers, none twice within a port space."""

    def __init__(self, nodes: Sequence[Node], taken: Mapping[str, frozenset[int]]) -> None:
        self.given: dict[tuple[str, int, str], int] = {}
        self._taken: dict[str, set[int]] = {}
        # Where the last search for a port ended, so that many ports do not cost a search each.
        self._next: dict[tuple[str, int], int] = {}
        for node in nodes:
            busy = self._taken.setdefault(_space(node), set(taken.get(node.port_space, ())))
            busy.add(node.port or _SSH_PORT)

    def give(self, owner: tuple[str, int, str], node: Node, first: int, last: int) -> bool:
        """Whether there was a free one; without, the owner gets `first`."""
        space = _space(node)
        busy = self._taken[space]
        number = self._next.get((space, first), first)
        while number <= last and number in busy:
            number += 1
        self._next[(space, first)] = number
        is_free = number <= last
        if is_free:
            busy.add(number)
        self.given[owner] = number if is_free else first
        return is_free


def _space(node: Node) -> str:
    # A provider that says nothing has nodes that are machines of their own.
    return node.port_space or f"node {node.name}"


def _assign_fixed(
    spec: ExperimentSpec,
    seats: Mapping[str, Sequence[tuple[Node, int]]],
    names: Mapping[str, Any],
    ports: _Ports,
    faults: list[Fault],
) -> None:
    """Those with a wish come first, so that none of the others takes it from them."""
    for name, process in spec.processes.items():
        for port, wish in process.ports.items() if isinstance(process.ports, dict) else ():
            key = ("processes", name, "ports", port)
            before = len(faults)
            first = _count(key, wish, names, faults)
            if len(faults) == before and not 1 <= first <= PORT_MAX:
                message = f"expected a port from 1 to {PORT_MAX}, found {first}"
                faults.append(Fault(key=key, message=message))
            _give(key, (name, port), seats[name], (first, PORT_MAX), ports, faults)


def _assign_free(
    spec: ExperimentSpec,
    seats: Mapping[str, Sequence[tuple[Node, int]]],
    ports: _Ports,
    faults: list[Fault],
) -> None:
    for name, process in spec.processes.items():
        for index, port in enumerate(process.ports if isinstance(process.ports, list) else ()):
            key = ("processes", name, "ports", index)
            _give(key, (name, port), seats[name], (PORT_FIRST, PORT_LAST), ports, faults)


def _give(
    key: Key,
    owner: tuple[str, str],
    seats: Sequence[tuple[Node, int]],
    between: tuple[int, int],
    ports: _Ports,
    faults: list[Fault],
) -> None:
    name, port = owner
    first, last = between
    lacking = [
        node
        for index, (node, _) in enumerate(seats)
        if not ports.give((name, index, port), node, first, last)
    ]
    if lacking and first <= last:
        message = f"no free port from {first} to {last} is left on {lacking[0].name}"
        faults.append(Fault(key=key, message=message))
