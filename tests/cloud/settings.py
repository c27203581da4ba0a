"""What a test can choose about the simulated cloud, with defaults that make tests fast."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

Delays = float | list[float]

# Replaces the account's own images; the public ones of Canonical, Debian and Amazon are always there.
_OWN_IMAGES = (
    {"name": "cloister-base-20260102", "owner": "self", "created": "2026-01-02T03:04:05.000Z"},
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """`…_s` are real seconds but for `terminated_visible_s`, which are simulated ones.

    Numbers of instances (`never_boots`, `fails_at_launch`) count launches from 1 since the start of
    the server. Rules of faults count calls from 1 since the setting was made.
    """

    # pending → running, and running → sshd answers: one number, or a list dealt out by instance.
    boot_s: Delays = 0.05
    ssh_after_s: Delays = 0.05
    # shutting-down → terminated, stopping → stopped.
    shutdown_s: float = 0.05
    image_s: float = 0.05
    # Why each image that is made fails in the end; empty: none does.
    images_fail: str = ""
    # creating → available.
    volume_s: float = 0.0
    # So long after its creation nothing knows a resource; so long describes show an old state, and
    # groups, keys, placement groups and volumes that are no longer there.
    visible_after_s: float = 0.0
    stale_s: float = 0.0
    gone_visible_s: float = 0.0
    # Action, or "*" for all others → how long AWS works on a call before it has any effect.
    works_s: Mapping[str, float] = dataclasses.field(default_factory=dict)
    # "zone/type/market" with wildcards → how many such instances can be there at once.
    capacity: Mapping[str, int] = dataclasses.field(default_factory=dict)
    vcpu_limit: int | None = None
    throttle: bool = False
    # "Action" or "Action#n": the call is done, and its caller never hears of it.
    lose_reply: list[str] = dataclasses.field(default_factory=list)
    # {"action", "nth" (or None: always), "code", "message", "status"}: the call is not done.
    refuse: list[Mapping[str, Any]] = dataclasses.field(default_factory=list)
    # {"action" ("any": all mutating calls, "every": describing ones too), "nth", "when": "before" or "after"}
    kill_caller: Mapping[str, Any] | None = None
    never_boots: list[int] = dataclasses.field(default_factory=list)
    fails_at_launch: list[int] = dataclasses.field(default_factory=list)
    # Why those fail: the code of their state reason.
    launch_failure: str = "Server.InternalError"
    # sshds start only when a rule of the instance's groups lets 127.0.0.1 in on ssh_port or 22.
    firewall: bool = False
    # So many connections are reset before the sshd of an instance starts.
    ssh_refuses_first: int = 0
    expired: bool = False
    # After so many further calls, counted since the setting was made.
    expires_after_calls: int | None = None
    # An IAM policy, which then decides about every call; None: the caller may do everything.
    policy: Mapping[str, Any] | None = None
    time_scale: float = 1.0
    # No sshd processes, only ports that greet as sshds do: for tests with a thousand instances.
    api_only: bool = False
    terminated_visible_s: float = 3600.0
    ssh_port: int = 2222
    # {name, owner, created, id, state, architecture, root_device_name, region}; all but the first
    # three have defaults, and without a region the image is in every one, under another id in each.
    images: list[Mapping[str, Any]] = dataclasses.field(
        default_factory=lambda: [dict(image) for image in _OWN_IMAGES]
    )
    # Those that the account has enabled; empty: all that moto knows.
    regions: list[str] = dataclasses.field(default_factory=list)
    # Describes without MaxResults answer with so many items and a NextToken.
    page_size: int = 1000


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """ValueError when there is no setting of such a name."""
    known = {field.name for field in dataclasses.fields(Settings)}
    if unknown := sorted(set(changes) - known):
        raise ValueError(f"no such settings: {', '.join(unknown)}")
    return dataclasses.replace(settings, **changes)


def dealt(delays: Delays, number: int) -> float:
    """The delay of instance `number`, counted from 1."""
    return delays[(number - 1) % len(delays)] if isinstance(delays, list) else delays
