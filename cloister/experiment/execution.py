"""Running one trial: start in order, wait until ready, wait for the end, stop, collect.

Every wait here is for an event or a reply of the agents, with a limit; nothing sleeps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import signal as signals
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from cloister.config.spec import ExperimentSpec
from cloister.errors import CloisterError, NodeError
from cloister.experiment.collecting import DiskSpace, collect
from cloister.experiment.placement import Instance, place
from cloister.experiment.record import Artifact, ProcessRecord, Verdict
from cloister.experiment.running import (
    STOP_MARGIN_S,
    Running,
    TrialFailed,
    process_record,
    used_nodes,
)
from cloister.experiment.starting import command_of, is_users_fault, levels
from cloister.experiment.trial import Trial
from cloister.plan.observed import Node
from cloister.transport.channel import Pending
from cloister.transport.links import Links

# Where a trial's logs are on a node, below its work folder, until they are collected.
TRIALS = ".cloister/trials"
# A node that does not answer an echo so soon after a failure is taken for its cause.
ALIVE_WITHIN_S = 5.0
# How often a limit is looked at while nothing happens; events come at once.
_TICK_S = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
    """What one attempt did: the failure if there was one, its processes, the files it left."""

    failure: TrialFailed | None
    processes: tuple[ProcessRecord, ...]
    labels: tuple[str, ...]
    artifacts: tuple[Artifact, ...]
    nodes: tuple[Node, ...]
    started_at: float
    duration_s: float
    measured_s: float


class Attempt:
    """One attempt at a trial, from the first process to the last collected file."""

    def __init__(
        self, spec: ExperimentSpec, trial: Trial, nodes: Sequence[Node], links: Links, cluster: str
    ) -> None:
        self._spec = spec
        self._trial = trial
        self._links = links
        self._nodes = nodes
        self._cluster = cluster
        self._over: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._running: list[Running] = []
        self._ends_at = time.monotonic() + spec.timeout
        self._folder = f"{TRIALS}/{trial.experiment}-{time.time_ns():x}"

    def execute(self, folder: Path) -> Execution:
        """Run it and collect into `folder`; a failure is part of the result, not raised."""
        began, started_at = time.monotonic(), time.time()
        failure: TrialFailed | None = None
        measured_s = 0.0
        try:
            measured_s = self._go()
        except TrialFailed as error:
            failure = self._blamed(error)
        except CloisterError as error:
            failure = TrialFailed("invalid", str(error))
        duration_s = time.monotonic() - began
        unstoppable = self._stop()
        failure = failure or unstoppable
        space = DiskSpace(self._running)
        artifacts, uncollected = collect(self._running, folder)
        failure = space.judged(failure) or uncollected
        self._clean()
        return Execution(
            failure=failure,
            processes=tuple(process_record(running) for running in self._running),
            labels=tuple(running.label for running in self._running),
            artifacts=artifacts,
            nodes=self._used_nodes(),
            started_at=started_at,
            duration_s=duration_s,
            measured_s=measured_s,
        )

    # --- start -----------------------------------------------------------------------------------

    def _go(self) -> float:
        """Start everything and wait for the end; the seconds between all ready and the end."""
        instances = self._placed()
        self._running = [
            Running(
                instance=instance, logs=f"{self._folder}/{instance.process}-{instance.instance}"
            )
            for instance in instances
        ]
        for level in levels(instances):
            chosen = [
                index
                for index, running in enumerate(self._running)
                if running.instance.process in level
            ]
            self._start(chosen)
            self._await_ready(chosen)
        ready = time.monotonic()
        self._await_end(ready)
        return time.monotonic() - ready

    def _placed(self) -> tuple[Instance, ...]:
        """The instances, with ports that nothing listens on at this moment."""
        draft = place(self._spec, self._trial, self._nodes, cluster=self._cluster)
        used = used_nodes(draft)
        self._links.open_all(n for n in used if not self._links.is_warm(n)).raise_first()
        if not any(instance.ports for instance in draft):
            return draft
        replies = [(node, self._links.channel(node).begin("listening_ports")) for node in used]
        taken: dict[str, frozenset[int]] = {}
        for node, reply in replies:
            taken[node.port_space] = taken.get(node.port_space, frozenset()) | frozenset(
                reply.wait()
            )
        return place(self._spec, self._trial, self._nodes, cluster=self._cluster, taken=taken)

    def _start(self, chosen: Sequence[int]) -> None:
        for index in chosen:
            running = self._running[index]
            instance = running.instance
            process = self._links.channel(instance.node).start(
                command_of(instance),
                folder=instance.folder,
                env={
                    **instance.env,
                    "CLOISTER_TRIAL": self._trial.id,
                    "CLOISTER_NAME": instance.process,
                },
                stdin=instance.stdin.encode() if instance.stdin is not None else None,
                stdout=f"{running.logs}/stdout.log",
                stderr="stdout" if instance.merge_stderr else f"{running.logs}/stderr.log",
            )
            running.process = process
            process.when_over(lambda index=index: self._over.put(index))  # type: ignore[misc]
        for index in chosen:
            try:
                self._running[index].started_process.wait_started()
            except NodeError as error:
                verdict: Verdict = "failed" if is_users_fault(error) else "invalid"
                reason = f"{self._running[index].label} did not start: {error}"
                raise TrialFailed(verdict, reason, index) from None

    def _await_ready(self, chosen: Sequence[int]) -> None:
        """Until all of them are ready. Meanwhile no process may end badly, whichever it is."""
        began = time.monotonic()
        waits = {
            i: self._readiness(self._running[i]) for i in chosen if self._running[i].instance.ready
        }
        for index, reply in waits.items():
            if reply is not None:
                reply.when_over(lambda index=index: self._over.put(index))  # type: ignore[misc]
        while True:
            self._judge_ended()
            for index in [i for i, reply in waits.items() if self._is_ready(i, reply)]:
                self._running[index].ready_after_s = time.monotonic() - began
                del waits[index]
            if not waits:
                return
            self._wait_for_readiness(began, list(waits))

    def _readiness(self, running: Running) -> Pending | None:
        """The agent's word that it is ready; None where its end is what is waited for."""
        ready = running.instance.ready
        assert ready is not None
        if ready.kind == "ended":
            return None
        return running.channel.begin(
            "until",
            process=running.started_process.identity,
            kind=ready.kind,
            value=ready.value,
            within_s=float(ready.within_s),
            logs=running.log_paths(),
            address=running.instance.node.private_address,
        )

    def _is_ready(self, index: int, reply: Pending | None) -> bool:
        running = self._running[index]
        if reply is None:
            return running.started_process.is_over
        if not reply.is_over:
            return False
        try:
            reply.wait(0)
            return True
        except NodeError as error:
            self._judge_ended()
            reason = str(error).removeprefix(f"{running.instance.node.name}: ")
            raise TrialFailed(
                "failed", f"{running.label}: {_condition(running)}: {reason}", index
            ) from None

    def _wait_for_readiness(self, began: float, waiting: Sequence[int]) -> None:
        """Until something happens, or it is too late for one of them."""
        now = time.monotonic()
        for index in waiting:
            running = self._running[index]
            ready = running.instance.ready
            assert ready is not None
            late_at = began + ready.within_s
            if ready.kind != "ended":
                # The agent keeps this time itself; without its word the node is in trouble.
                late_at += STOP_MARGIN_S
            if now > min(late_at, self._ends_at):
                reason = f"not within {min(ready.within_s, self._spec.timeout):g} s"
                raise TrialFailed(
                    "failed", f"{running.label}: {_condition(running)}: {reason}", index
                )
        try:
            self._over.get(timeout=_TICK_S)
        except queue.Empty:
            return

    # --- end -------------------------------------------------------------------------------------

    def _await_end(self, ready: float) -> None:
        duration_s = self._spec.end.duration if self._spec.end is not None else None
        limit = self._ends_at if duration_s is None else min(self._ends_at, ready + duration_s)
        awaited = self._awaited()
        while True:
            self._judge_ended()
            if duration_s is None and all(
                self._running[i].started_process.is_over for i in awaited
            ):
                return
            remaining = limit - time.monotonic()
            if remaining <= 0:
                if duration_s is not None and limit < self._ends_at:
                    return
                names = ", ".join(
                    sorted(self._running[i].label for i in awaited if not self._is_over(i))
                )
                guilty = next((i for i in awaited if not self._is_over(i)), None)
                raise TrialFailed(
                    "failed", f"not over within {self._spec.timeout:g} s: {names} still ran", guilty
                )
            try:
                self._over.get(timeout=remaining)
            except queue.Empty:
                continue

    def _is_over(self, index: int) -> bool:
        return self._running[index].started_process.is_over

    def _awaited(self) -> list[int]:
        """The instances whose end is the trial's end."""
        end = self._spec.end
        names: Iterable[str]
        if end is None or (end.process is None and end.duration is None and not end.all):
            names = [list(self._spec.processes)[-1]]
        elif end.process is not None:
            names = [end.process] if isinstance(end.process, str) else end.process
        else:
            names = list(self._spec.processes)
        wanted = set(names)
        return [i for i, running in enumerate(self._running) if running.instance.process in wanted]

    def _judge_ended(self) -> None:
        """Raise if a process that has ended by itself did not end well."""
        for index, running in enumerate(self._running):
            if (
                running.process is None
                or not running.process.is_over
                or running.outcome is not None
            ):
                continue
            try:
                running.outcome = running.process.wait(0)
            except CloisterError as error:
                running.lost = True
                raise TrialFailed("invalid", f"{running.label} was lost: {error}", index) from None
            if running.outcome.status not in running.instance.expect:
                raise TrialFailed("failed", f"{running.label} ended with {running.outcome}", index)

    def _blamed(self, failure: TrialFailed) -> TrialFailed:
        """The failure, or a lost node if that explains it: peers of a dead node fail too."""
        if failure.verdict == "invalid":
            return failure
        asked = [(node, self._asked(node)) for node in self._used_nodes()]
        ends_at = time.monotonic() + ALIVE_WITHIN_S
        lost: CloisterError | None = None
        for node, reply in asked:
            try:
                if isinstance(reply, CloisterError):
                    raise reply
                reply.wait(max(0.0, ends_at - time.monotonic()))
            except CloisterError as error:
                lost = lost or error
                self._give_up(node)
        if lost is None:
            return failure
        return TrialFailed("invalid", f"{lost} (seen as: {failure.reason})", failure.guilty)

    def _asked(self, node: Node, what: str = "echo") -> Pending | CloisterError:
        try:
            return self._links.channel(node).begin(what)
        except CloisterError as error:
            return error

    def _give_up(self, node: Node) -> None:
        """Stopping and collecting must not wait for a node that is known not to answer."""
        if self._links.is_warm(node):
            self._links.channel(node).close()

    # --- stop, collect, clean --------------------------------------------------------------------

    def _stop(self) -> TrialFailed | None:
        """End what still runs, last started first; a failure if it cannot be ended."""
        failure: TrialFailed | None = None
        for level in reversed(levels([running.instance for running in self._running])):
            stops: list[tuple[int, Pending]] = []
            for index, running in enumerate(self._running):
                process = running.process
                if running.instance.process not in level or process is None or process.is_over:
                    continue
                running.stopped = True
                number = int(signals.Signals[f"SIG{running.instance.stop_signal}"])
                try:
                    stops.append(
                        (
                            index,
                            process.channel.begin(
                                "stop",
                                process=process.identity,
                                number=number,
                                grace_s=float(running.instance.stop_grace_s),
                            ),
                        )
                    )
                except CloisterError as error:
                    running.lost = True
                    failure = failure or TrialFailed(
                        "invalid", f"{running.label} cannot be stopped: {error}", index
                    )
            for index, reply in stops:
                running = self._running[index]
                try:
                    reply.wait(running.instance.stop_grace_s + STOP_MARGIN_S)
                    running.outcome = running.started_process.wait(STOP_MARGIN_S)
                except (CloisterError, TimeoutError) as error:
                    running.lost = True
                    self._give_up(running.instance.node)
                    failure = failure or TrialFailed(
                        "invalid", f"{running.label} cannot be stopped: {error}", index
                    )
        return failure

    def _clean(self) -> None:
        """Kill strays of the trial and remove its folder on every node that still answers."""
        replies: list[Pending] = []
        for node in self._used_nodes():
            if not self._links.is_warm(node):
                continue
            try:
                channel = self._links.channel(node)
                replies.append(channel.begin("end_all"))
                replies.append(channel.begin("remove", path=self._folder))
            except CloisterError:
                # The node went away meanwhile; what is on it is its provider's to end.
                continue
        for running in self._running:
            if running.can_be_asked:
                with contextlib.suppress(CloisterError):
                    running.started_process.forget()
        for reply in replies:
            try:
                reply.wait(STOP_MARGIN_S)
            except CloisterError:
                continue

    def _used_nodes(self) -> tuple[Node, ...]:
        return used_nodes(running.instance for running in self._running)


def _condition(running: Running) -> str:
    ready = running.instance.ready
    assert ready is not None
    return f"waiting for {ready.kind} {ready.value}".rstrip()
