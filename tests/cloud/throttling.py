"""EC2's token buckets: so many calls at once, and so many per second.

https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from cloud.refusals import Refusal
from cloud.verbs import is_mutating

# (tokens at most, tokens per second)
_REQUESTS = {
    "RunInstances": (5, 2),
    "StartInstances": (5, 2),
    "TerminateInstances": (100, 5),
    "CreateTags": (100, 10),
    "DeleteTags": (100, 10),
    "CreateVolume": (100, 5),
}
_OTHER_MUTATING = (50, 5)
_INTENSIVE = (50, 5)
_INTENSIVE_ACTIONS = {
    "AuthorizeSecurityGroupIngress",
    "CancelSpotInstanceRequests",
    "CreateKeyPair",
    "RequestSpotInstances",
    "RevokeSecurityGroupIngress",
}
_DESCRIBES = (100, 20)
_UNFILTERED = (50, 10)
_UNFILTERED_ACTIONS = {
    "DescribeInstances",
    "DescribeInstanceStatus",
    "DescribeNetworkInterfaces",
    "DescribeSecurityGroups",
    "DescribeVolumes",
}
# One token per instance.
_INSTANCES = {
    "RunInstances": (1000, 2),
    "StartInstances": (1000, 2),
    "StopInstances": (1000, 20),
    "TerminateInstances": (1000, 20),
}


@dataclasses.dataclass(kw_only=True)
class _Bucket:
    most: float
    per_s: float
    tokens: float
    filled_s: float

    def take(self, count: int, now_s: float) -> bool:
        self.tokens = min(self.most, self.tokens + (now_s - self.filled_s) * self.per_s)
        self.filled_s = now_s
        if self.tokens < count:
            return False
        self.tokens -= count
        return True


class Throttle:
    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def check(self, region: str, action: str, asked: dict[str, Any]) -> None:
        """RequestLimitExceeded when a bucket of this region is empty."""
        name, limit = _bucket(action, asked)
        enough = self._take(region, name, limit, 1)
        if enough and action in _INSTANCES:
            enough = self._take(region, f"{action} instances", _INSTANCES[action], _count(asked))
        if not enough:
            raise Refusal("RequestLimitExceeded", "Request limit exceeded.", status=503)

    def _take(self, region: str, name: str, limit: tuple[int, int], count: int) -> bool:
        now_s = time.monotonic()
        bucket = self._buckets.setdefault(
            (region, name),
            _Bucket(most=limit[0], per_s=limit[1], tokens=limit[0], filled_s=now_s),
        )
        return bucket.take(count, now_s)


def _bucket(action: str, asked: dict[str, Any]) -> tuple[str, tuple[int, int]]:
    """Calls without a bucket of their own share one with others of their kind."""
    if action in _REQUESTS:
        return action, _REQUESTS[action]
    if action in _INTENSIVE_ACTIONS:
        return "intensive", _INTENSIVE
    if is_mutating(action):
        return "mutating", _OTHER_MUTATING
    narrowed = any(name in asked for name in ("Filters", "MaxResults")) or any(
        name.endswith("Ids") for name in asked
    )
    if action in _UNFILTERED_ACTIONS and not narrowed:
        return "unfiltered", _UNFILTERED
    return "describes", _DESCRIBES


def _count(asked: dict[str, Any]) -> int:
    return len(asked.get("InstanceIds", [])) or int(asked.get("MaxCount", 1))
