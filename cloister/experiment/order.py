"""In which order the processes of a trial start, and on which of them its end depends."""

from __future__ import annotations

from cloister.config.spec import ExperimentSpec
from cloister.config.validating import nearest_hint
from cloister.experiment.faults import Fault, Key


def start_after(spec: ExperimentSpec) -> dict[str, tuple[str, ...]]:
    """Process → those that must be ready first; by default the one listed before."""
    after: dict[str, tuple[str, ...]] = {}
    before: tuple[str, ...] = ()
    for name, process in spec.processes.items():
        after[name] = before if process.after is None else tuple(dict.fromkeys(process.after))
        before = (name,)
    return after


def start_order(spec: ExperimentSpec) -> list[str]:
    """The processes, each behind all that it waits for; those of a cycle are left out."""
    waiting = start_after(spec)
    order: list[str] = []
    while free := [name for name in waiting if set(waiting[name]) <= set(order)]:
        order.append(free[0])
        del waiting[free[0]]
    return order


def order_faults(spec: ExperimentSpec) -> list[Fault]:
    """What is wrong with the references of `after` and `end`."""
    faults = [
        _no_process(spec, ("processes", name, "after", index), other)
        for name, process in spec.processes.items()
        for index, other in enumerate(process.after or ())
        if other not in spec.processes
    ]
    if not faults and len(start_order(spec)) < len(spec.processes):
        faults.append(_cycle(spec))
    ends = spec.end.process if spec.end else None
    if isinstance(ends, str) and ends not in spec.processes:
        faults.append(_no_process(spec, ("end", "process"), ends))
    if isinstance(ends, list):
        faults += [
            _no_process(spec, ("end", "process", index), name)
            for index, name in enumerate(ends)
            if name not in spec.processes
        ]
    return faults


def _no_process(spec: ExperimentSpec, key: Key, name: str) -> Fault:
    hint = nearest_hint(name, spec.processes)
    return Fault(key=key, message=f"there is no process {name!r}", hint=hint)


def _cycle(spec: ExperimentSpec) -> Fault:
    after, ordered = start_after(spec), set(start_order(spec))
    path = [next(name for name in after if name not in ordered)]
    while path[-1] not in path[:-1]:
        path.append(next(name for name in after[path[-1]] if name not in ordered))
    cycle = path[path.index(path[-1]) :]
    written = next(name for name in cycle if spec.processes[name].after is not None)
    return Fault(
        key=("processes", written, "after"),
        message=f"the processes wait for each other: {' after '.join(cycle)}",
        hint="without `after` a process waits for the one listed before it",
    )
