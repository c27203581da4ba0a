"""An instance that runs, what has become of it so far, and why a trial is no result."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from cloister.experiment.placement import Instance
from cloister.experiment.record import ProcessRecord, Verdict
from cloister.plan.observed import Node
from cloister.transport.channel import Channel
from cloister.transport.process import Outcome, Process

# Beyond the process's own grace: killing is quick unless the machine is in trouble.
STOP_MARGIN_S = 30.0


class TrialFailed(Exception):
    """Why a trial is not a result; `guilty` is the index of the process to blame, if one is."""

    def __init__(self, verdict: Verdict, reason: str, guilty: int | None = None) -> None:
        super().__init__(reason)
        self.verdict: Verdict = verdict
        self.reason = reason
        self.guilty = guilty


@dataclasses.dataclass(kw_only=True)
class Running:
    """An instance and what has become of it so far."""

    instance: Instance
    logs: str
    process: Process | None = None
    ready_after_s: float | None = None
    outcome: Outcome | None = None
    stopped: bool = False
    lost: bool = False

    @property
    def label(self) -> str:
        return f"{self.instance.process}-{self.instance.instance}@{self.instance.node.name}"

    @property
    def started_process(self) -> Process:
        assert self.process is not None
        return self.process

    @property
    def channel(self) -> Channel:
        return self.started_process.channel

    @property
    def can_be_asked(self) -> bool:
        return self.process is not None and self.process.channel.is_open

    def log_paths(self) -> list[str]:
        return [f"{self.logs}/stdout.log"] + (
            [] if self.instance.merge_stderr else [f"{self.logs}/stderr.log"]
        )


def used_nodes(instances: Iterable[Instance]) -> tuple[Node, ...]:
    """Each node once, in the order of its first process."""
    return tuple({instance.node.name: instance.node for instance in instances}.values())


def process_record(running: Running) -> ProcessRecord:
    outcome, instance = running.outcome, running.instance
    if running.process is None:
        end = "not started"
    elif outcome is None or running.lost:
        end = "lost"
    else:
        end = "stopped" if running.stopped else "itself"
    return ProcessRecord(
        process=instance.process,
        instance=instance.instance,
        node=instance.node.name,
        command=instance.command
        if isinstance(instance.command, str)
        else " ".join(instance.command),
        status=outcome.status if outcome else None,
        signal=outcome.signal if outcome else None,
        end=end,  # type: ignore[arg-type]
        started_at=outcome.started_at if outcome else None,
        ended_at=outcome.ended_at if outcome else None,
        ready_after_s=running.ready_after_s,
        cpu_user_s=outcome.user_s if outcome else 0.0,
        cpu_system_s=outcome.system_s if outcome else 0.0,
        max_rss_bytes=outcome.max_rss_bytes if outcome else 0,
    )
