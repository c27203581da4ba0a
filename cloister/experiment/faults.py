"""One thing for which a trial cannot be placed on the cluster's nodes."""

from __future__ import annotations

import dataclasses

Key = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that cannot be placed; `key` is relative to the experiment.

    `needed` is the number of nodes that were asked for, where that is the fault.
    `is_certain` is false for what may only follow from another fault.
    """

    key: Key
    message: str
    hint: str = ""
    needed: int = 0
    is_certain: bool = True
