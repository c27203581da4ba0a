"""Which process of a trial runs where, with which command and ports: pure."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cloister.config.located import key_text
from cloister.config.spec import ExperimentSpec, ProcessSpec, ReadyKind, ReadySpec
from cloister.config.validating import nearest_hint
from cloister.errors import UsageError
from cloister.experiment.faults import Fault, Key
from cloister.experiment.layout import PORT_MAX, Layout, Slot, laid_out, whole_number
from cloister.experiment.names import base_names, layout_names, own_names
from cloister.experiment.order import order_faults, start_after, start_order
from cloister.experiment.templates import TemplateError, render, template_fault
from cloister.experiment.trial import Trial
from cloister.plan.observed import Node


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ready:
    """When an instance counts as started; `value` is a number for `port`, else text."""

    kind: ReadyKind
    value: str | int
    within_s: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instance:
    """One program to start; `instance` counts from 0 over all nodes, `number` on its own node.

    `after` names the processes that must be ready before it starts.
    """

    process: str
    instance: int
    number: int
    node: Node
    command: str | tuple[str, ...]
    folder: str
    env: Mapping[str, str]
    env_file: str | None
    stdin: str | None
    ports: Mapping[str, int]
    after: tuple[str, ...]
    ready: Ready | None
    stop_signal: str
    stop_grace_s: float
    expect: tuple[int, ...]
    merge_stderr: bool
    collect: tuple[str, ...]


class Unplaceable(UsageError):
    """The trial cannot run on these nodes."""

    def __init__(self, trial: Trial, faults: Sequence[Fault]) -> None:
        lines = [f"{key_text(fault.key)}: {fault.message}" for fault in faults]
        super().__init__(f"{trial.id}: " + "; ".join(lines), hint=faults[0].hint)
        self.faults = tuple(faults)


def place(
    spec: ExperimentSpec,
    trial: Trial,
    nodes: Sequence[Node],
    *,
    cluster: str,
    taken: Mapping[str, frozenset[int]] | None = None,
) -> tuple[Instance, ...]:
    """The instances in the order of their start; Unplaceable says all that prevents it.

    `taken` has, by port space, the port numbers that something else listens on.
    """
    layout = laid_out(spec, nodes, base_names(trial, cluster), taken or {})
    faults = [*order_faults(spec), *layout.faults]
    instances = [] if faults else _instances(spec, trial, layout, cluster, faults)
    if faults:
        raise Unplaceable(trial, faults)
    return tuple(instances)


# --- texts ---------------------------------------------------------------------------------------


def texts(process: ProcessSpec) -> Iterator[tuple[Key, str]]:
    """Every template of a process, by its key within the process."""
    if isinstance(process.command, str):
        yield ("command",), process.command
    else:
        yield from ((("command", i), word) for i, word in enumerate(process.command))
    yield ("folder",), process.folder
    yield from ((("env", name), value) for name, value in process.env.items())
    if process.env_file is not None:
        yield ("env_file",), process.env_file
    if process.stdin is not None:
        yield ("stdin",), process.stdin
    yield from ((("collect", i), pattern) for i, pattern in enumerate(process.collect))
    if process.ready:
        kind, value = ready_condition(process.ready)
        if kind != "log":  # a regular expression, in which braces mean something else
            yield ("ready", kind), str(value)


def ready_condition(
    ready: ReadySpec,
) -> tuple[ReadyKind, str | int]:
    if ready.port is not None:
        return "port", ready.port
    if ready.log is not None:
        return "log", ready.log
    if ready.file is not None:
        return "file", ready.file
    if ready.http is not None:
        return "http", ready.http
    if ready.ended is not None:
        return "ended", ""
    assert ready.command is not None  # ReadySpec has exactly one
    return "command", ready.command


def port_number(text: str, ports: Mapping[str, int]) -> int | None:
    """Of a port's name or a number in text."""
    if text in ports:
        return ports[text]
    number = whole_number(text)
    return number if number is not None and 1 <= number <= PORT_MAX else None


def bad_port(text: str, ports: Iterable[str]) -> tuple[str, str]:
    """Message and hint for what `port_number` does not know."""
    message = f"expected a name from `ports` or a number from 1 to {PORT_MAX}, found {text!r}"
    return message, nearest_hint(text, ports)


def _instances(
    spec: ExperimentSpec, trial: Trial, layout: Layout, cluster: str, faults: list[Fault]
) -> list[Instance]:
    after = start_after(spec)
    common = {**base_names(trial, cluster), **layout_names(spec, layout)}
    found: list[Instance] = []
    for name in start_order(spec):
        process = spec.processes[name]
        for slot in layout.slots[name]:
            names = {**common, **own_names(common, name, slot.instance)}
            rendered = _rendered(name, process, names, faults)
            if rendered is not None:
                found.append(_instance(name, process, slot, after[name], rendered, faults))
            if faults:
                break  # the other instances have the same templates
    return found


def _rendered(
    name: str, process: ProcessSpec, names: Mapping[str, Any], faults: list[Fault]
) -> dict[Key, str] | None:
    rendered: dict[Key, str] = {}
    before = len(faults)
    for key, text in texts(process):
        try:
            rendered[key] = render(text, names)
        except TemplateError as error:
            faults.append(template_fault(("processes", name, *key), error))
    return rendered if len(faults) == before else None


def _instance(
    name: str,
    process: ProcessSpec,
    slot: Slot,
    after: tuple[str, ...],
    rendered: Mapping[Key, str],
    faults: list[Fault],
) -> Instance:
    return Instance(
        process=name,
        instance=slot.instance,
        number=slot.number,
        node=slot.node,
        command=_command(process, rendered),
        folder=rendered[("folder",)],
        env={variable: rendered[("env", variable)] for variable in process.env},
        env_file=rendered.get(("env_file",)),
        stdin=rendered.get(("stdin",)),
        ports=slot.ports,
        after=after,
        ready=_ready(name, process, slot, rendered, faults),
        stop_signal=process.stop.signal,
        stop_grace_s=process.stop.grace,
        expect=tuple(process.expect),
        merge_stderr=process.merge_stderr,
        collect=tuple(rendered[("collect", index)] for index in range(len(process.collect))),
    )


def _command(process: ProcessSpec, rendered: Mapping[Key, str]) -> str | tuple[str, ...]:
    if isinstance(process.command, str):
        return rendered[("command",)]
    return tuple(rendered[("command", index)] for index in range(len(process.command)))


def _ready(
    name: str,
    process: ProcessSpec,
    slot: Slot,
    rendered: Mapping[Key, str],
    faults: list[Fault],
) -> Ready | None:
    if process.ready is None:
        return None
    kind, value = ready_condition(process.ready)
    text = rendered.get(("ready", kind), str(value))
    if kind != "port":
        return Ready(kind=kind, value=text, within_s=process.ready.within)
    number = port_number(text, slot.ports)
    if number is None:
        message, hint = bad_port(text, slot.ports)
        faults.append(Fault(key=("processes", name, "ready", "port"), message=message, hint=hint))
    return Ready(kind="port", value=number or 0, within_s=process.ready.within)


# --- identity ------------------------------------------------------------------------------------


def definition(spec: ExperimentSpec, trial: Trial, sources: Mapping[str, str]) -> str:
    """SHA-256 of everything that decides what the trial measures.

    `sources` has, by target, the content key of the code that is deployed there. Defaults are left
    out, so that a new setting in a later version does not make old results worthless.
    """
    decisive = {
        "parameters": dict(trial.parameters),
        "seed": trial.seed,
        # As a list: by default the order of the processes is that of their start.
        "processes": [
            [name, process.model_dump(mode="json", exclude_defaults=True)]
            for name, process in spec.processes.items()
        ],
        "end": spec.end.model_dump(mode="json", exclude_defaults=True) if spec.end else None,
        "timeout": spec.timeout,
        "sources": dict(sources),
    }
    text = json.dumps(decisive, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
