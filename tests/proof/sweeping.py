"""The process that starts victims, as the sweeps hold it: one for all sweeps of a worker."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

from ec2_account import Account

from cloister.config.spec import ClusterSpec

_PROGRAM = Path(__file__).with_name("victims.py")


class Victims:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._numbers = itertools.count()

    def prepare(self, account: Account, spec: ClusterSpec, command: str) -> None:
        """By the process itself: what has to be there before a victim's work, which is faster after it."""
        status, said = self._ordered(account, spec, command, fork=False)
        assert status == 0, f"{command}: {said}"

    def run(
        self, account: Account, spec: ClusterSpec, command: str, fatal: int = 0
    ) -> tuple[int, str]:
        """Its exit status, -9 if it was killed, and the number of its moments or its error."""
        return self._ordered(account, spec, command, fatal=fatal)

    def _ordered(
        self,
        account: Account,
        spec: ClusterSpec,
        command: str,
        *,
        fatal: int = 0,
        fork: bool = True,
    ) -> tuple[int, str]:
        order = {
            "number": next(self._numbers),
            "command": command,
            "fatal": fatal,
            "fork": fork,
            "state": str(account.state),
            "env": account.cloud.variables,
            "spec": spec.model_dump(mode="json", exclude_unset=True),
        }
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        # A test that ran out of time did not read its answer.
        while answer["number"] != order["number"]:
            answer = json.loads(self._process.stdout.readline())
        return answer["status"], answer["said"]

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)
