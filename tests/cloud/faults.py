"""What goes wrong because a test wants it: refusals, lost replies, callers that die."""

from __future__ import annotations

import dataclasses
from typing import Any

from cloud.refusals import Refusal
from cloud.settings import Settings
from cloud.verbs import is_mutating

ANY = "any"
EVERY = "every"


@dataclasses.dataclass(kw_only=True)
class _Rule:
    """`nth` is the number of the call, counted from 1 since the rule was made; None: every one."""

    action: str
    nth: int | None
    seen: int = 0

    def applies(self, action: str) -> bool:
        if self.action not in (action, EVERY) and not (self.action == ANY and is_mutating(action)):
            return False
        self.seen += 1
        return self.nth in (None, self.seen)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fate:
    """What will happen to one call. `kill` is "before", "after" or ""."""

    refusal: Refusal | None
    kill: str
    lost: bool


class Faults:
    def __init__(self, settings: Settings) -> None:
        self.set(settings, {"refuse", "lose_reply", "kill_caller", "expires_after_calls"})

    def set(self, settings: Settings, changed: set[str]) -> None:
        """Rules whose setting has changed begin to count anew."""
        if "refuse" in changed:
            self._refusals = [(_rule(one), _refusal(one)) for one in settings.refuse]
        if "lose_reply" in changed:
            self._losses = [_loss(one) for one in settings.lose_reply]
        if "kill_caller" in changed:
            kill = settings.kill_caller
            self._kill = (_rule(kill), str(kill.get("when", "before"))) if kill else None
        if "expires_after_calls" in changed:
            self._calls_left = settings.expires_after_calls

    def expired(self) -> bool:
        """Whether the caller's credentials are no longer valid at this call."""
        if self._calls_left is None:
            return False
        self._calls_left -= 1
        return self._calls_left < 0

    def fate(self, action: str) -> Fate:
        """Every rule counts every call that it is about, whatever the others do to it."""
        refusals = [refusal for rule, refusal in self._refusals if rule.applies(action)]
        lost = [rule for rule in self._losses if rule.applies(action)]
        kill = self._kill[1] if self._kill and self._kill[0].applies(action) else ""
        return Fate(refusal=refusals[0] if refusals else None, kill=kill, lost=bool(lost))


def expired(protocol: str) -> Refusal:
    if protocol == "ec2":
        return Refusal("RequestExpired", "Request has expired.")
    if protocol == "query":
        return Refusal(
            "ExpiredToken", "The security token included in the request is expired", status=403
        )
    return Refusal("ExpiredTokenException", "The security token included in the request is expired")


def _rule(given: Any) -> _Rule:
    return _Rule(action=given["action"], nth=given.get("nth"))


def _loss(text: str) -> _Rule:
    action, _, nth = text.partition("#")
    return _Rule(action=action, nth=int(nth) if nth else None)


def _refusal(given: Any) -> Refusal:
    return Refusal(given["code"], given.get("message", given["code"]), given.get("status", 400))
