"""Wall time, CPU of the client and CPU of the nodes between two moments.

The client is this process, its children, and what bears its mark though it is nobody's child any
more, such as OpenSSH's master processes. The nodes are the sshds with all that they started.
"""

from __future__ import annotations

import dataclasses
import resource
import time
from collections.abc import Sequence

from processes import cpu_of, marked, tree_of

# Sessions that end with the command are counted once sshd has waited for them.
_SETTLE_S = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    case: str
    wall_s: float
    client_cpu_s: float
    node_cpu_s: float


class Meter:
    def __init__(self, sshd_pids: Sequence[int], mark: str) -> None:
        self._sshd_pids = sshd_pids
        self._mark = mark

    def start(self) -> None:
        # Looking costs CPU as well, so it comes before the client's own figure here and after it below.
        self._nodes_s = self._node_cpu_s()
        self._marked_s = cpu_of(marked(self._mark))
        self._own_s = _own_cpu_s()
        self._start_s = time.perf_counter()

    def stop(self, case: str) -> Sample:
        wall_s = time.perf_counter() - self._start_s
        own_s = _own_cpu_s()
        marked_s = cpu_of(marked(self._mark))
        time.sleep(_SETTLE_S)
        return Sample(
            case=case,
            wall_s=wall_s,
            client_cpu_s=own_s - self._own_s + marked_s - self._marked_s,
            node_cpu_s=self._node_cpu_s() - self._nodes_s,
        )

    def _node_cpu_s(self) -> float:
        return sum(tree_of(self._sshd_pids).values())


def _own_cpu_s() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
