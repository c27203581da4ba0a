"""How far a run is: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cloister.cli.output import say, seconds_text

if TYPE_CHECKING:
    from cloister.experiment.record import TrialRecord
    from cloister.experiment.runner import Job
    from cloister.results.conduct import Standings, Watcher

REFRESH_PER_S = 4
SHOWN_LINES = 5


class Progress:
    """Trial n of N, elapsed, and what remains if the others take as long as those so far."""

    def __init__(self, live: bool | None = None) -> None:
        self._live = sys.stderr.isatty() if live is None else live
        self._display: Any = None
        self._began = time.monotonic()
        self._total = self._done = 0
        self._job: Job | None = None
        self._job_began = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._display is not None:
            self._display.stop()

    def watcher(self) -> Watcher:
        from cloister.results.conduct import Watcher

        return Watcher(
            say=self._say,
            on_standings=self._standings,
            on_start=self._start,
            on_record=self._record,
        )

    def _say(self, text: str) -> None:
        if self._display is not None:
            self._display.console.print(text, markup=False, highlight=False)
        else:
            say(text)

    def _standings(self, standings: Standings) -> None:
        self._total, self._began = len(standings.jobs), time.monotonic()
        kinds: dict[str, int] = {}
        for standing in standings.reasons.values():
            kinds[standing.kind] = kinds.get(standing.kind, 0) + 1
            for damage in standing.damages:
                self._say(f"damaged: {damage}")
        why = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        self._say(
            f"{self._total} trials to run{f' ({why})' if why else ''}; {standings.complete} complete"
        )
        if self._live and self._total:
            self._show_live()

    def _show_live(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._display = Live(
            get_renderable=self._line,
            console=Console(stderr=True),
            refresh_per_second=REFRESH_PER_S,
        )
        self._display.start()

    def _line(self) -> Any:
        from rich.text import Text

        if self._job is None:
            return Text("")
        running = seconds_text(time.monotonic() - self._job_began)
        return Text(
            f"{self._position()} {self._job.trial.id}  {running}  {self._times()}",
            overflow="ellipsis",
            no_wrap=True,
        )

    def _position(self) -> str:
        return f"trial {self._done + 1} of {self._total}"

    def _times(self) -> str:
        elapsed = time.monotonic() - self._began
        text = f"elapsed {seconds_text(elapsed)}"
        if 0 < self._done < self._total:
            text += (
                f", about {seconds_text(elapsed / self._done * (self._total - self._done))} left"
            )
        return text

    def _start(self, job: Job) -> None:
        self._job, self._job_began = job, time.monotonic()

    def _record(self, record: TrialRecord) -> None:
        position = self._position()
        self._done += 1
        numbers = ", ".join(f"{name} {value:.6g}" for name, value in record.metrics.items())
        took = seconds_text(record.duration_s)
        text = f"{position}: {record.trial}: {record.verdict} in {took}{f'; {numbers}' if numbers else ''}"
        self._say(f"{text} [{self._times()}]" if self._display is None else text)
        if record.verdict != "complete":
            self._say(f"  {record.reason}")
            for line in record.last_lines[-SHOWN_LINES:]:
                self._say(f"  | {line}")
