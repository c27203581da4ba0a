"""Client tokens: the same launch asked for twice is made once.

https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
"""

from __future__ import annotations

from typing import Any

from cloud.refusals import Refusal, invalid_value
from cloud.resources import Creation, Launch, Region

TOKEN_MAX = 64
_NOT_PART = ("ClientToken", "DryRun")


def earlier(region: Region, zone: str, asked: dict[str, Any]) -> dict[str, Any] | None:
    """What was answered to the same call before. `zone` is the one asked for, or "": a token with a
    zone is another one in the next zone."""
    token = asked.get("ClientToken", "")
    if len(token) > TOKEN_MAX or not token.isascii():
        raise invalid_value(f"Invalid client token: at most {TOKEN_MAX} ASCII characters")
    launch = region.launches.get((zone, token)) if token else None
    if launch is None:
        return None
    if launch.asked != _compared(asked):
        raise _mismatch()
    if not any(region.instances[one].alive for one in launch.instances):
        raise Refusal(
            "IdempotentInstanceTerminated",
            "The request to launch an instance used the same client token as a previous request "
            "for which the instance has been terminated.",
        )
    return launch.answer


def earlier_creation(region: Region, asked: dict[str, Any]) -> dict[str, Any] | None:
    """As `earlier`, of what is no instance. The answer is that of then, whatever became of the resource."""
    creation = region.creations.get(asked.get("ClientToken", ""))
    if creation is None:
        return None
    if creation.asked != _compared(asked):
        raise _mismatch()
    return creation.answer


def remember_creation(region: Region, asked: dict[str, Any], answer: dict[str, Any]) -> None:
    if token := asked.get("ClientToken"):
        region.creations[token] = Creation(asked=_compared(asked), answer=answer)


def remember(
    region: Region, zone: str, asked: dict[str, Any], answer: dict[str, Any], ids: list[str]
) -> None:
    if token := asked.get("ClientToken"):
        region.launches[zone, token] = Launch(
            asked=_compared(asked), answer=answer, instances=tuple(ids)
        )


def _mismatch() -> Refusal:
    return Refusal(
        "IdempotentParameterMismatch",
        "The specified token has already been used with different parameters.",
    )


def _compared(asked: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if name not in _NOT_PART}
