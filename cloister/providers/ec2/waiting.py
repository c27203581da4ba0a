"""Instances on their way: running, with an address, and answering as SSH servers do."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor

from cloister.providers.ec2 import api
from cloister.providers.ec2.observing import Instance, chosen

# A describe call every second or two is far below AWS's limit; the first ones come sooner.
_FIRST_PAUSE_S, _PAUSE_S_MAX = 0.1, 2.0
_PROBES_AT_ONCE = 128
_PROBE_S = 3.0
_PROBE_PAUSE_S = 0.25
_SSH_PORT = 22


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrived:
    """Nodes by name: those that answer, and why the others never will."""

    ready: Mapping[str, Instance]
    failed: Mapping[str, str]


def await_instances(
    names: Iterable[str],
    find: Callable[[], Sequence[Instance]],
    *,
    gone: AbstractSet[str],
    within_s: float,
    ready: Callable[[Instance], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Arrived:
    """Until each of these nodes answers or has failed; `ready` is called for each as it answers.

    gone: instances that had ended before; AWS shows them for an hour.
    """
    waiting, done, failed = set(names), dict[str, Instance](), dict[str, str]()
    probes: dict[str, Future[str]] = {}
    began = time.monotonic()
    pause_s = _FIRST_PAUSE_S
    pool = ThreadPoolExecutor(max(1, min(_PROBES_AT_ONCE, len(waiting))))
    try:
        while waiting:
            found = find()
            living = chosen([instance for instance in found if not instance.is_gone])
            for name in sorted(waiting):
                instance = living.get(name)
                waited_s = time.monotonic() - began
                if instance is None:
                    if why := _why_missing(name, found, gone, waited_s):
                        failed[name] = why
                elif instance.id in probes:
                    probe = probes[instance.id]
                    if probe.done() and (why := probe.result()):
                        failed[name] = f"{instance.id}: {why}"
                    elif probe.done():
                        done[name] = instance
                        ready(instance)
                elif instance.state == "running" and instance.address:
                    probes[instance.id] = pool.submit(_why_silent, instance, began + within_s)
                elif waited_s > within_s:
                    failed[name] = f"{instance.id} is still {instance.state} after {within_s:g} s"
            waiting -= {*done, *failed}
            if waiting:
                sleep(pause_s)
                pause_s = min(1.5 * pause_s, _PAUSE_S_MAX)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return Arrived(ready=done, failed=failed)


def _why_missing(
    name: str, found: Sequence[Instance], gone: AbstractSet[str], waited_s: float
) -> str:
    """Empty as long as it may still appear."""
    for instance in found:
        if instance.name == name and instance.is_gone and instance.id not in gone:
            return f"{instance.id} is {instance.state}: {instance.why or 'AWS does not say why'}"
    return "AWS does not show it" if waited_s > api.VISIBLE_WITHIN_S else ""


def _why_silent(instance: Instance, ends_at: float) -> str:
    """Empty once an SSH server answers; what was the matter when the time was over."""
    why = ""
    while True:
        try:
            where = (instance.address, instance.port or _SSH_PORT)
            with socket.create_connection(where, timeout=_PROBE_S) as connection:
                if connection.recv(4) == b"SSH-":
                    return ""
            why = "something else than an SSH server answers"
        except OSError as error:
            why = f"no SSH server answers: {error.strerror or error}"
        if time.monotonic() > ends_at:
            return why
        time.sleep(_PROBE_PAUSE_S)
