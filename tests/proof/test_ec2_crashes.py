"""launch and destroy on EC2 killed before and after every API call and before every change of a file.

After a kill, in turn: `launch` again must end with exactly the nodes that were asked for; `destroy` must
leave nothing that costs; nobody comes back, and the leases must end every instance. In some cases the
recovery is killed as well before the next one. Under several kinds of bad weather: what was made is not
seen for a while, replies are lost, capacity is short.

The moments are counted by an undisturbed run of the same command, so that none is left out when the code
changes. Each kind of weather is a simulated cloud of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud.client import Cloud
from cloud.using import eventually
from ec2_account import Account

REGIONS = ["us-east-1", "eu-west-1"]
WEATHERS: dict[str, dict[str, Any]] = {
    "fair": {},
    "late": {"visible_after_s": 0.4, "stale_s": 0.2},
    "lossy": {"lose_reply": ["RunInstances#1", "CreateSecurityGroup#1", "TerminateInstances#1"]},
    "scarce": {"capacity": {"us-east-1a/*/*": 1, "us-east-1b/*/*": 1}},
}
MUTATING_MAX = 30
VICTIM = Path(__file__).with_name("victims.py")
LEASE_S = 4 * 3600
RECOVERIES = ("launch", "destroy", "nobody")


class Victims:
    """The process that starts victims."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, VICTIM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, account: Account, command: str, fatal: int = 0) -> tuple[int, str]:
        """Its exit status, -9 if it was killed, and the number of its moments or its error."""
        order = {
            "command": command,
            "fatal": fatal,
            "state": str(account.state),
            "env": account.cloud.variables,
            "spec": account.spec().model_dump(mode="json", exclude_unset=True),
        }
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["status"], answer["said"]

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)


class Sweep:
    def __init__(self, cloud: Cloud, folder: Path, weather: str) -> None:
        self.cloud, self.folder, self.weather = cloud, folder, weather
        self.victims = Victims()
        self.cases = 0
        self._recoveries = itertools.cycle(RECOVERIES)

    def account(self) -> Account:
        name = f"t{secrets.token_hex(4)}"
        return Account(self.cloud, self.folder / name, name)

    def undisturbed(self, command: str) -> tuple[int, int]:
        """How many mutating calls and how many changes of files the command makes."""
        account = self.account()
        if command == "destroy":
            assert self.victims.run(account, "launch")[0] == 0
        before = len(self.cloud.calls())
        status, said = self.victims.run(account, command)
        assert status == 0, said
        calls = [
            c for c in self.cloud.calls()[before:] if not c.action.startswith(("Describe", "Get"))
        ]
        if command == "launch":
            self.recover(account, "destroy")
        return len(calls), int(said)

    def kill_at_calls(self, command: str) -> None:
        calls, _ = self.undisturbed(command)
        assert 2 <= calls <= MUTATING_MAX
        for nth, when in itertools.product(range(1, calls + 1), ("before", "after")):
            self.case(command, kill={"action": "any", "nth": nth, "when": when})

    def kill_at_files(self, command: str) -> None:
        _, changes = self.undisturbed(command)
        assert changes >= 5
        for nth in range(1, changes + 1):
            self.case(command, fatal=nth)

    def case(self, command: str, *, kill: dict[str, Any] | None = None, fatal: int = 0) -> None:
        account = self.account()
        if command == "destroy":
            assert self.victims.run(account, "launch")[0] == 0
        self.cloud.set(kill_caller=kill, **WEATHERS[self.weather])
        status, said = self.victims.run(account, command, fatal)
        self.cloud.set(kill_caller=None)
        assert status in (-9, 0), f"{command} {kill or fatal}: {said}"
        self.cases += 1
        recovery = next(self._recoveries)
        if self.cases % 4 == 0:
            # A second crash, in the recovery.
            second = "launch" if recovery == "launch" else "destroy"
            self.victims.run(account, second, fatal=3 + self.cases % 11)
        self.recover(account, recovery)

    def recover(self, account: Account, how: str) -> None:
        if how == "launch":
            status, said = self.victims.run(account, "launch")
            assert status == 0, said
            names = sorted(self._names(account))
            assert names == ["manager1", "workers1", "workers2"], names
        elif how == "nobody":
            self.cloud.settle()
            # A guest's own clock does not jump: what has not booted would count its lease from now on.
            eventually(
                lambda: all(one["lease_s"] is not None for one in account.living()) or None,
                "every node has booted",
            )
            self.cloud.advance(LEASE_S + 120)
            self.cloud.settle()
            assert account.living() == []
        status, said = self.victims.run(account, "destroy")
        assert status == 0, said
        assert account.billable() == []
        assert not (account.state / "clusters" / account.name).exists()

    def _names(self, account: Account) -> Iterator[str]:
        for instance in account.living():
            tags = instance["tags"]
            yield tags["cloister:roles"] + str(
                int(tags["cloister:first"]) + instance["launch_index"]
            )


@pytest.fixture
def sweep(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sweep]:
    weather = request.param
    with Cloud.start(tmp_path / "cloud", regions=REGIONS, **WEATHERS[weather]) as cloud:
        sweep = Sweep(cloud, tmp_path / "machines", weather)
        with contextlib.closing(sweep.victims):
            yield sweep
        assert cloud.billable() == []
        print(f"{sweep.cases} crashes in {weather} weather")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("command", ["launch", "destroy"])
@pytest.mark.parametrize("sweep", WEATHERS, indirect=True)
def test_no_crash_at_a_call_leaks_or_doubles_anything(sweep: Sweep, command: str) -> None:
    sweep.kill_at_calls(command)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("command", ["launch", "destroy"])
@pytest.mark.parametrize("sweep", ["fair", "late"], indirect=True)
def test_no_crash_at_a_file_leaks_or_doubles_anything(sweep: Sweep, command: str) -> None:
    sweep.kill_at_files(command)
