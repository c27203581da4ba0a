"""The simulated cloud as tests hold it: starts the server, asks it, changes it, ends it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from cloud.forks import Forker, Server

STARTS_WITHIN_S = 30.0
ENDS_WITHIN_S = 15.0
ANSWERS_WITHIN_S = 60.0
PAUSE_S = 0.01
LOG_LINES = 30
_FORKER = Forker()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """`error` is a code or ""; `fate` is "answered", "lost", "killed before" or "killed after"."""

    number: int
    time_s: float
    service: str
    action: str
    region: str
    parameters: dict[str, Any]
    # Of the caller, if it was killed.
    pid: int | None
    error: str
    fate: str
    # Of the caller's policy: "Sid permission resource".
    granted: list[str]


class Cloud:
    def __init__(self, folder: Path, process: Server, port: int) -> None:
        self.folder = folder
        self.process = process
        self.endpoint = f"http://127.0.0.1:{port}"

    @classmethod
    @contextlib.contextmanager
    def start(cls, folder: Path, **settings: Any) -> Iterator[Self]:
        """RuntimeError with the end of the server's log when it does not start."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "settings.json").write_text(json.dumps(settings))
        # Of an earlier server in the same folder.
        (folder / "port").unlink(missing_ok=True)
        process = _FORKER.start(folder)
        try:
            yield cls(folder, process, _port(folder, process))
        finally:
            _end(process)

    @property
    def env(self) -> dict[str, str]:
        """This process's environment with what sends AWS's SDKs, and cloister, to the simulation."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("AWS_") and not name.lower().endswith("_proxy")
        }
        return {**kept, **self.variables}

    @property
    def variables(self) -> dict[str, str]:
        """Only what has to be added, for tests that change their own environment."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "AKIASIMULATED0000000",
            "AWS_SECRET_ACCESS_KEY": "simulated",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "CLOISTER_ADDRESS_URL": f"{self.endpoint}/_cloud/address",
        }

    def set(self, **settings: Any) -> None:
        """ValueError when there is no such setting."""
        self._ask("set", settings)

    def billable(self) -> list[str]:
        """The leak oracle: "region kind id about" of everything that costs or belongs to somebody."""
        return [str(line) for line in self._ask("billable")]

    def dollars(self) -> float:
        return float(self._ask("dollars"))

    def calls(self) -> list[Call]:
        return [Call(**call) for call in self._ask("calls")]

    def instances(self) -> list[dict[str, Any]]:
        """The truth about every instance that ever was."""
        return list(self._ask("instances"))

    def advance(self, seconds: float) -> None:
        """Let simulated time pass; whatever ends by that has ended when this returns."""
        self._ask("advance", {"seconds": seconds})

    def interrupt(self, instance_id: str) -> None:
        """The machine goes: reclaimed if it is a spot instance, broken otherwise."""
        self._ask("interrupt", {"instance": instance_id})

    def pause(self, instance_id: str) -> None:
        """Its sshd answers no new connection; sessions that are open go on."""
        self._ask("signal", {"instance": instance_id, "what": "pause"})

    def resume(self, instance_id: str) -> None:
        self._ask("signal", {"instance": instance_id, "what": "resume"})

    def freeze(self, instance_id: str) -> None:
        """All of its processes stop where they are."""
        self._ask("signal", {"instance": instance_id, "what": "pause", "everything": True})

    def thaw(self, instance_id: str) -> None:
        self._ask("signal", {"instance": instance_id, "what": "resume", "everything": True})

    def settle(self) -> None:
        """Wait until no instance is on its way down."""
        self._ask("settle")

    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def _ask(self, name: str, document: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            f"{self.endpoint}/_cloud/{name}", data=json.dumps(document or {}).encode()
        )
        # Without the proxies of this machine's environment.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=ANSWERS_WITHIN_S) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from error


def _port(folder: Path, process: Server) -> int:
    limit_s = time.monotonic() + STARTS_WITHIN_S
    while not (folder / "port").exists():
        if process.wait(0) or time.monotonic() > limit_s:
            lines = (folder / "server.log").read_text(errors="replace").splitlines()
            raise RuntimeError("the cloud did not start:\n" + "\n".join(lines[-LOG_LINES:]))
        time.sleep(PAUSE_S)
    return int((folder / "port").read_text())


def _end(process: Server) -> None:
    process.send_signal(signal.SIGTERM)
    if not process.wait(ENDS_WITHIN_S):
        process.send_signal(signal.SIGKILL)
        process.wait(ENDS_WITHIN_S)
    process.close()
