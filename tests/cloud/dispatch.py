"""The application: every call is written down, may meet a fault, is carried out and answered."""

from __future__ import annotations

import os
import signal
import time
import traceback
from pathlib import Path
from typing import Any

from botocore.model import OperationNotFoundError

from cloud import incoming, replies, schedules, wire
from cloud.actions import OURS, left_to_moto
from cloud.authorization import authorize
from cloud.callers import caller
from cloud.control import Control
from cloud.faults import Fate, Faults, expired
from cloud.incoming import Incoming
from cloud.journal import Entry, Journal
from cloud.moto_side import MotoSide
from cloud.power import Power
from cloud.refusals import Refusal, dry_run, not_simulated
from cloud.replies import Reply
from cloud.throttling import Throttle
from cloud.web import Environ
from cloud.world import World

CONTROL = "/_cloud/"


class Application:
    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self._journal = Journal(folder / "calls.jsonl")
        self._faults = Faults(world.settings)
        self._throttle = Throttle()
        self._moto = MotoSide()
        self._control = Control(world, self._journal, self._faults)

    def listen_to(self, power: Power) -> None:
        self._control.power = power

    def __call__(self, environ: Environ) -> Reply | None:
        """None when the caller gets no answer."""
        if environ["PATH_INFO"].startswith(CONTROL):
            return self._control.reply(environ)
        return self._answer(environ)

    def _answer(self, environ: Environ) -> Reply | None:
        try:
            call = incoming.read(environ)
        except KeyError as error:
            protocol = "json" if "HTTP_X_AMZ_TARGET" in environ else "rest-xml"
            return replies.refused(protocol, not_simulated(f"the service {error}"))
        entry = self._journal.begin(call)
        try:
            return self._meet(environ, call, entry)
        finally:
            self._journal.finish(entry)

    def _meet(self, environ: Environ, call: Incoming, entry: Entry) -> Reply | None:
        with self._world.lock:
            fate = self._faults.fate(call.action)
        if fate.kill == "before":
            _kill(environ, call, entry, "before")
            return None
        reply = self._carried_out(environ, call, fate, entry)
        entry.error = reply.error_code
        if fate.kill == "after":
            _kill(environ, call, entry, "after")
            return None
        if fate.lost:
            entry.fate = "lost"
            return None
        return reply

    def _carried_out(self, environ: Environ, call: Incoming, fate: Fate, entry: Entry) -> Reply:
        try:
            return self._result(environ, call, fate, entry)
        except Refusal as refusal:
            return replies.refused(call.protocol, refusal)
        except Exception as error:  # noqa: BLE001
            traceback.print_exc()
            broken = f"{call.action}: {type(error).__name__}: {error}; see server.log"
            return replies.refused(call.protocol, Refusal("SimulationBroken", broken, 501))

    def _result(self, environ: Environ, call: Incoming, fate: Fate, entry: Entry) -> Reply:
        settings = self._world.settings
        if works_s := settings.works_s.get(call.action, settings.works_s.get("*", 0.0)):
            time.sleep(works_s)
        with self._world.lock:
            if settings.expired or self._faults.expired():
                raise expired(call.protocol)
        asked = _asked(call)
        if settings.policy is not None:
            with self._world.lock:
                entry.granted = authorize(
                    self._world, call.region, call.service, call.action, call.protocol, asked
                )
        if settings.throttle and call.service == "ec2":
            with self._world.lock:
                self._throttle.check(call.region, call.action, asked)
        if fate.refusal:
            raise fate.refusal
        if (call.service, call.action) in OURS:
            return replies.answered(call, self._ours(call, asked))
        if left_to_moto(call.service, call.action):
            return self._motos(environ, call, asked)
        raise not_simulated(call.action, details=f"of {call.service}")

    def _ours(self, call: Incoming, asked: dict[str, Any]) -> dict[str, Any]:
        # A launch is checked first, so that a dry run of a wrong one says what is wrong.
        if asked.get("DryRun") and call.action != "RunInstances":
            raise dry_run()
        with self._world.lock:
            region = self._world.region(call.region)
            return OURS[call.service, call.action](self._world, region, asked)

    def _motos(self, environ: Environ, call: Incoming, asked: dict[str, Any]) -> Reply:
        if asked.get("DryRun") and call.service == "ec2":
            raise dry_run()
        if call.service == "ec2":
            self._world.network.vpc(call.region)
        reply = self._moto.reply(environ, call)
        if call.service == "scheduler":
            with self._world.lock:
                # Its region becomes known to the oracle too.
                schedules.plan(self._world, self._world.region(call.region).name)
        return reply


def _asked(call: Incoming) -> dict[str, Any]:
    if call.protocol != "ec2":
        return call.document
    try:
        return wire.asked(call.action, call.form)
    except (ValueError, TypeError, AttributeError) as error:
        raise Refusal("MalformedQueryString", f"{call.action}: {error}") from error
    except OperationNotFoundError as error:
        raise Refusal("InvalidAction", f"The action {call.action} is not valid") from error


def _kill(environ: Environ, call: Incoming, entry: Entry, when: str) -> None:
    entry.fate = f"killed {when}"
    entry.pid = caller(call.port, int(environ["SERVER_PORT"]))
    if entry.pid is None:
        raise RuntimeError(f"the caller of {entry.action} cannot be found")
    os.kill(entry.pid, signal.SIGKILL)
