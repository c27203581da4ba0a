"""Instances on their way: running, with an address, and answering as SSH servers do."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from cloister.providers.ec2 import api
from cloister.providers.ec2.launch.probing import Probes
from cloister.providers.ec2.observing import Instance, chosen

# A describe call a second is far below AWS's limit of twenty; the first ones come sooner.
_FIRST_PAUSE_S, _PAUSE_S_MAX = 0.1, 1.0
# Where all have an address, a look is only for those that end before they answer.
_PAUSE_ADDRESSED_S = 5.0
_SSH_PORT = 22
# Longer than most machines take to boot.
_SLOW_S = 30.0


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
    slow: Callable[[str, str], None] = lambda name, why: None,
    probed: bool = True,
) -> Arrived:
    """Until each of these nodes answers or has failed; `ready` is called for each as it answers.

    slow: told now and then which nodes have not arrived, and what is known of each.
    look: the cluster's instances; of these nodes, and of those that have ended, as they are now.
    gone: instances that had ended before; AWS shows them for an hour.
    probed: whether this machine can ask them; those behind a gateway have arrived when they run.
    """
    began = told_at = time.monotonic()
    pause_s = _FIRST_PAUSE_S
    with contextlib.closing(_Coming(names, ends_at=began + within_s, probed=probed)) as coming:
        while coming.waiting:
            looked = time.monotonic()
            coming.learn(look(coming.unaddressed), gone, looked - began)
            # At least as long as the look took: a thousand instances are a second's work to read.
            rest_s = max(pause_s, time.monotonic() - looked)
            pause_s = min(1.5 * pause_s, _PAUSE_S_MAX)
            for instance in coming.answers(rest_s if coming.unaddressed else _PAUSE_ADDRESSED_S):
                ready(instance)
            if time.monotonic() - told_at > _SLOW_S:
                told_at = time.monotonic()
                for name, why in coming.far(told_at - began):
                    slow(name, why)
    return Arrived(ready=coming.done, failed=coming.failed)


class _Coming:
    """Which nodes are waited for, and what is known of them."""

    def __init__(self, names: Iterable[str], *, ends_at: float, probed: bool) -> None:
        self.waiting = set(names)
        self._probed = probed
        self.done: dict[str, Instance] = {}
        self.failed: dict[str, str] = {}
        self._ends_at = ends_at
        self._living: dict[str, Instance] = {}
        self._running: list[str] = []
        self._probes = Probes(ends_at=ends_at)

    @property
    def unaddressed(self) -> set[str]:
        """Those that nobody probes yet."""
        living = self._living
        return {n for n in self.waiting if n not in living or living[n].id not in self._probes}

    def learn(self, found: Sequence[Instance], gone: AbstractSet[str], waited_s: float) -> None:
        self._living = chosen([instance for instance in found if not instance.is_gone])
        for name in sorted(self.unaddressed):
            instance = self._living.get(name)
            if instance is None:
                self._fail(name, _why_missing(name, found, gone, waited_s))
            elif instance.address and not self._probed:
                self._running.append(name)
            elif instance.address:
                self._probes.add(instance.id, instance.address, instance.port or _SSH_PORT)
            elif time.monotonic() > self._ends_at:
                self._fail(name, f"{instance.id} is still {instance.state} after {waited_s:.0f} s")

    def answers(self, seconds: float) -> Iterator[Instance]:
        """Those that answer, for so long or until none is waited for."""
        while self._running:
            name = self._running.pop()
            if name in self.waiting:
                self.waiting.discard(name)
                self.done[name] = self._living[name]
                yield self._living[name]
        if not self.waiting:
            return
        names = {self._living[name].id: name for name in self.waiting if name in self._living}
        for key, why in self._probes.answers(time.monotonic() + seconds):
            # Others have ended meanwhile, or were made twice and are the younger ones.
            if key in names:
                name = names[key]
                self._fail(name, f"{key}: {why}" if why else "")
                if not why:
                    self.waiting.discard(name)
                    self.done[name] = self._living[name]
                    yield self._living[name]
            if not self.waiting:
                return

    def far(self, waited_s: float) -> list[tuple[str, str]]:
        """How far those are that are waited for."""
        return [(name, _how_far(self._living.get(name), waited_s)) for name in sorted(self.waiting)]

    def close(self) -> None:
        self._probes.close()

    def _fail(self, name: str, why: str) -> None:
        """An empty text is none."""
        if why:
            self.waiting.discard(name)
            self.failed[name] = why


def _how_far(instance: Instance | None, waited_s: float) -> str:
    waits = f"after {waited_s:.0f} s"
    if instance is None:
        return f"AWS does not show it yet, {waits}"
    if instance.state != "running":
        return f"{instance.id} is still {instance.state}, {waits}"
    return f"{instance.id} runs, no SSH server answers yet, {waits}"


def _why_missing(
    name: str, found: Sequence[Instance], gone: AbstractSet[str], waited_s: float
) -> str:
    """Empty as long as it may still appear."""
    for instance in found:
        if instance.name == name and instance.is_gone and instance.id not in gone:
            return f"{instance.id} is {instance.state}: {instance.why or 'AWS does not say why'}"
    return "AWS does not show it" if waited_s > api.VISIBLE_WITHIN_S else ""
