"""Instances on their way: running, with an address, and answering as SSH servers do."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from cloister.providers.ec2 import api
from cloister.providers.ec2.observing import Instance, chosen
from cloister.providers.ec2.probing import Probes

# A describe call a second is far below AWS's limit of twenty; the first ones come sooner.
_FIRST_PAUSE_S, _PAUSE_S_MAX = 0.1, 1.0
_SSH_PORT = 22


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrived:
    """Nodes by name: those that answer, and why the others never will."""

    ready: Mapping[str, Instance]
    failed: Mapping[str, str]


def await_instances(
    names: Iterable[str],
    look: Callable[[AbstractSet[str]], Sequence[Instance]],
    *,
    gone: AbstractSet[str],
    within_s: float,
    ready: Callable[[Instance], None],
) -> Arrived:
    """Until each of these nodes answers or has failed; `ready` is called for each as it answers.

    look: the cluster's instances; of these nodes, and of those that have ended, as they are now.
    gone: instances that had ended before; AWS shows them for an hour.
    """
    waiting, done, failed = set(names), dict[str, Instance](), dict[str, str]()
    began = time.monotonic()
    pause_s = _FIRST_PAUSE_S
    living: dict[str, Instance] = {}
    with contextlib.closing(Probes(ends_at=began + within_s)) as probes:
        while waiting:
            looked = time.monotonic()
            found = look({n for n in waiting if n not in living or living[n].id not in probes})
            living = chosen([instance for instance in found if not instance.is_gone])
            now = time.monotonic()
            for name in sorted(waiting):
                instance = living.get(name)
                if instance is None:
                    if why := _why_missing(name, found, gone, now - began):
                        failed[name] = why
                elif instance.id in probes:
                    continue
                elif instance.address:
                    probes.add(instance.id, instance.address, instance.port or _SSH_PORT)
                elif now - began > within_s:
                    failed[name] = f"{instance.id} is still {instance.state} after {within_s:g} s"
            waiting -= failed.keys()
            names_of = {living[name].id: name for name in waiting if name in living}
            # At least as long as the look took: a thousand instances are a second's work to read.
            until = now + max(pause_s, now - looked)
            pause_s = min(1.5 * pause_s, _PAUSE_S_MAX)
            for key, why in probes.answers(until) if waiting else ():
                if key not in names_of:
                    # It has ended meanwhile, or was made twice and is the younger one.
                    continue
                name = names_of[key]
                waiting.discard(name)
                if why:
                    failed[name] = f"{key}: {why}"
                else:
                    done[name] = living[name]
                    ready(living[name])
                if not waiting:
                    break
    return Arrived(ready=done, failed=failed)


def _why_missing(
    name: str, found: Sequence[Instance], gone: AbstractSet[str], waited_s: float
) -> str:
    """Empty as long as it may still appear."""
    for instance in found:
        if instance.name == name and instance.is_gone and instance.id not in gone:
            return f"{instance.id} is {instance.state}: {instance.why or 'AWS does not say why'}"
    return "AWS does not show it" if waited_s > api.VISIBLE_WITHIN_S else ""
