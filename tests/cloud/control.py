"""What tests ask of the simulation itself, below /_cloud/; no part of the AWS API, and not in the journal."""

from __future__ import annotations

import dataclasses
import json
import time
import traceback
from collections.abc import Callable
from typing import Any

from cloud import oracle, timeline
from cloud.faults import Faults
from cloud.journal import Journal
from cloud.nodes import PAUSE, RESUME
from cloud.power import Power
from cloud.replies import Reply
from cloud.world import World

SETTLES_WITHIN_S = 20.0
PAUSE_S = 0.005


class Control:
    def __init__(self, world: World, journal: Journal, faults: Faults) -> None:
        self.power: Power | None = None
        self._world = world
        self._journal = journal
        self._faults = faults
        self._routes: dict[str, Callable[[dict[str, Any]], Any]] = {
            "set": self._set,
            "billable": lambda _: self._locked(oracle.billable),
            "instances": lambda _: self._locked(oracle.instances),
            "dollars": lambda _: self._locked(lambda w: w.bill.dollars(w.clock.simulated_s)),
            "calls": lambda _: self._journal.entries(),
            "advance": self._advance,
            "interrupt": self._interrupt,
            "signal": self._signal,
            "settle": lambda _: self._settle(),
        }

    def reply(self, environ: dict[str, Any]) -> Reply:
        name = environ["PATH_INFO"].removeprefix("/_cloud/")
        if name == "address":
            text = f"{environ['REMOTE_ADDR']}\n".encode()
            return Reply(status=200, headers=[("Content-Type", "text/plain")], body=text)
        if name not in self._routes:
            return _json(404, {"error": f"no such path: {name}"})
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        try:
            return _json(200, self._routes[name](json.loads(body) if body else {}))
        except (KeyError, ValueError, TypeError) as error:
            traceback.print_exc()
            return _json(400, {"error": f"{type(error).__name__}: {error}"})

    def _locked(self, question: Callable[[World], Any]) -> Any:
        with self._world.lock:
            return question(self._world)

    def _set(self, changes: dict[str, Any]) -> dict[str, Any]:
        with self._world.lock:
            self._world.configure(changes)
            self._faults.set(self._world.settings, set(changes))
            return dataclasses.asdict(self._world.settings)

    def _advance(self, asked: dict[str, Any]) -> None:
        """What guests have said until now is heard first; what ends by this has ended afterwards."""
        if self.power is not None:
            self.power.drain()
        with self._world.lock:
            self._world.clock.advance(float(asked["seconds"]))
            self._world.agenda.catch_up()
        self._settle()

    def _interrupt(self, asked: dict[str, Any]) -> None:
        with self._world.lock:
            instance = self._world.instance(asked["instance"])
            if instance.state in ("pending", "running"):
                by_market = instance.market == "spot"
                reason = timeline.RECLAIMED if by_market else timeline.BROKEN
                timeline.end(self._world, [instance], stop=False, reason=reason)
        self._settle()

    def _signal(self, asked: dict[str, Any]) -> list[int]:
        number = {"pause": PAUSE, "resume": RESUME}[asked["what"]]
        return self._world.nodes.signal(
            asked["instance"], number, all_processes=asked.get("everything", False)
        )

    def _settle(self) -> None:
        """Wait until no instance is on its way down."""
        limit_s = time.monotonic() + SETTLES_WITHIN_S
        while self._locked(_on_the_way_down) and time.monotonic() < limit_s:
            time.sleep(PAUSE_S)


def _on_the_way_down(world: World) -> bool:
    return any(one.state in ("shutting-down", "stopping") for one in world.instances())


def _json(status: int, document: Any) -> Reply:
    return Reply(
        status=status,
        headers=[("Content-Type", "application/json")],
        body=json.dumps(document).encode(),
    )
