"""What is wrong with some points of an experiment: every count and template, tried on all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cloister.config.spec import ExperimentSpec, ProcessSpec
from cloister.experiment.faults import Fault, Key
from cloister.experiment.layout import Layout, laid_out
from cloister.experiment.names import base_names, layout_names, own_names
from cloister.experiment.placement import bad_port, port_number, texts
from cloister.experiment.templates import (
    NAMES,
    TemplateError,
    is_template,
    names_used,
    render,
    template_fault,
)
from cloister.experiment.trial import Trial, point_name
from cloister.plan.observed import Node

# The names that depend on where the instances are.
_OF_LAYOUT = frozenset(NAMES) - {"cluster", "seed", "trial"}


def point_faults(
    spec: ExperimentSpec,
    points: Sequence[Mapping[str, Any]],
    nodes: Sequence[Node],
    cluster: str,
) -> list[Fault]:
    """Each fault once, with a point where it happens.

    Nothing is tried twice with the same values of the parameters it uses, and of the instances of
    a process only the first and the last one are, so that 10,000 points take seconds.
    """
    survey = _Survey(spec, nodes, cluster)
    for point in points:
        survey.visit(point)
    return survey.faults()


@dataclasses.dataclass(kw_only=True)
class _Tally:
    """How often something was tried, and its worst fault with the point of that."""

    tried: int = 0
    failed: int = 0
    worst: Fault | None = None
    point: str = ""

    def add(self, fault: Fault | None, point: Mapping[str, Any]) -> None:
        self.tried += 1
        if fault is None:
            return
        self.failed += 1
        if self.worst is None or fault.needed > self.worst.needed:
            self.worst, self.point = fault, point_name(point)

    def fault(self) -> Fault | None:
        if self.worst is None:
            return None
        if self.failed == self.tried and not (self.worst.needed and self.tried > 1):
            return self.worst  # whatever the parameters are
        message = f"{self.worst.message} (at the point {self.point})"
        return dataclasses.replace(self.worst, message=message)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Text:
    """One template of a process, with the parameters it depends on."""

    process: str
    key: Key
    text: str
    uses: frozenset[str]
    is_of_layout: bool
    tally: _Tally
    seen: set[Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Place:
    """A layout, and what templates know of it."""

    layout: Layout
    names: Mapping[str, Any]


class _Survey:
    def __init__(self, spec: ExperimentSpec, nodes: Sequence[Node], cluster: str) -> None:
        self._spec = spec
        self._nodes = nodes
        self._cluster = cluster
        self._syntax: list[Fault] = []
        self._count_uses = frozenset(
            name
            for process in spec.processes.values()
            for text in _counts(process)
            for name in _names_or_none(text)
        )
        self._places: dict[Any, _Place] = {}
        self._layout_tallies: dict[Key, _Tally] = {}
        self._texts = [
            text for name, process in spec.processes.items() for text in self._of(name, process)
        ]

    def _of(self, name: str, process: ProcessSpec) -> Iterator[_Text]:
        for key, text in texts(process):
            if not is_template(text) and key != ("ready", "port"):
                continue
            try:
                uses = names_used(text)
            except TemplateError as error:
                self._syntax.append(template_fault(("processes", name, *key), error))
                continue
            yield _Text(
                process=name,
                key=("processes", name, *key),
                text=text,
                uses=uses - _OF_LAYOUT,
                is_of_layout=bool(uses & _OF_LAYOUT) or key == ("ready", "port"),
                tally=_Tally(),
                seen=set(),
            )

    def visit(self, point: Mapping[str, Any]) -> None:
        values = [(name.split(".", 1)[0], name, repr(value)) for name, value in point.items()]
        counts = _projection(values, self._count_uses)
        names: dict[str, Any] | None = None
        if counts not in self._places:
            names = self._names(point)
            self._places[counts] = self._placed(point, names)
        for text in self._texts:
            projection = (_projection(values, text.uses), counts if text.is_of_layout else None)
            if projection in text.seen:
                continue
            text.seen.add(projection)
            names = names or self._names(point)
            text.tally.add(self._fault(text, names, self._places[counts]), point)

    def faults(self) -> list[Fault]:
        tallies = [*self._layout_tallies.values(), *(text.tally for text in self._texts)]
        found = [tally.fault() for tally in tallies]
        return [*self._syntax, *(fault for fault in found if fault is not None)]

    def _names(self, point: Mapping[str, Any]) -> dict[str, Any]:
        trial = Trial(experiment=self._spec.name, parameters=point, repeat=1, seed=self._spec.seed)
        return base_names(trial, self._cluster)

    def _placed(self, point: Mapping[str, Any], names: Mapping[str, Any]) -> _Place:
        layout = laid_out(self._spec, self._nodes, names, {})
        faulty = {fault.key: fault for fault in layout.faults}
        for key in faulty:
            if key not in self._layout_tallies:
                self._layout_tallies[key] = _Tally(tried=len(self._places))
        for key, tally in self._layout_tallies.items():
            tally.add(faulty.get(key), point)
        return _Place(layout=layout, names=layout_names(self._spec, layout))

    def _fault(self, text: _Text, names: Mapping[str, Any], place: _Place) -> Fault | None:
        slots = place.layout.slots[text.process]
        if not text.is_of_layout:
            # It uses none of the layout's names; they are there for the hint to a misspelt one.
            return _rendered_fault(text, {**dict.fromkeys(NAMES), **names}, {})
        for index in dict.fromkeys([0, len(slots) - 1]) if slots else ():
            own = own_names(place.names, text.process, index)
            everything = {**names, **place.names, **own}
            fault = _rendered_fault(text, everything, slots[index].ports)
            # In a layout that is not the one that was asked for, an entry may be missing.
            if fault is not None and (fault.is_certain or not place.layout.faults):
                return fault
        return None


def _rendered_fault(
    text: _Text, names: Mapping[str, Any], ports: Mapping[str, int]
) -> Fault | None:
    try:
        rendered = render(text.text, names)
    except TemplateError as error:
        return template_fault(text.key, error)
    if text.key[2:] == ("ready", "port") and port_number(rendered, ports) is None:
        message, hint = bad_port(rendered, ports)
        return Fault(key=text.key, message=message, hint=hint)
    return None


def _counts(process: ProcessSpec) -> Iterator[str]:
    ports = process.ports.values() if isinstance(process.ports, dict) else ()
    for count in (process.nodes, process.per_node, process.instances, *ports):
        if isinstance(count, str):
            yield count


def _names_or_none(text: str) -> frozenset[str]:
    try:
        return names_used(text)
    except TemplateError:
        return frozenset()  # the layout reports it


def _projection(values: Iterable[tuple[str, str, str]], uses: frozenset[str]) -> Any:
    return tuple((name, value) for top, name, value in values if top in uses) if uses else ()
