"""launch, move to another region, extend, attach-swap and destroy on EC2 killed before and after every API call and every change of a file.

After a kill, in turn: `launch` again must end with exactly the nodes that were asked for (and `extend` again
with all of them told); `destroy` must leave nothing that costs; nobody comes back, and the leases must end
every instance. In every fourth case the recovery is killed as well before the next one. Under several kinds
of bad weather: what was made is not seen for a while, replies are lost, capacity is short.

The moments are counted by an undisturbed run of the same command, so that none is left out when the code
changes. Each kind of weather is a simulated cloud of its own. Between two calls that only look nothing
changes anywhere, so for those one kill each in fair weather has to do; `make sweep` kills before and after
each in all of them, and at files in every kind of weather. The number of crashes is in the summary at the
end of the run.
"""

from __future__ import annotations

import itertools
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud.client import Cloud
from cloud.using import eventually
from cloud.verbs import is_mutating
from ec2_account import Account
from sweeping import Victims
from victims import LONGER_S, REGIONS

from cloister.config.spec import ClusterSpec

WEATHERS: dict[str, dict[str, Any]] = {
    "fair": {},
    "late": {"visible_after_s": 0.4, "stale_s": 0.2, "volume_s": 0.3},
    "lossy": {
        "lose_reply": [
            *("RunInstances#1", "CreateSecurityGroup#1", "TerminateInstances#1"),
            *("CreateVolume#1", "AttachVolume#1", "ModifyInstanceAttribute#1"),
        ]
    },
    "scarce": {"capacity": {"us-east-1a/*/*": 1, "us-east-1b/*/*": 1}},
}
LEASE_S = 4 * 3600
SCHEDULE_ROLE = "arn:aws:iam::123456789012:role/cloister-schedule"
WHOLE = os.environ.get("SWEEP") == "whole"
CALLS_MAX = 150
NAMES = ["manager1", "workers1", "workers2"]
# Command → what has to be there before it, and what is done after a kill, in turn.
BEFORE = {
    "launch": None,
    "destroy": "launch",
    "extend": "bring up",
    "attach swap": "launch",
    "move": "launch",
}
RECOVERIES = {
    "launch": ("launch", "destroy", "nobody"),
    "destroy": ("launch", "destroy", "nobody"),
    "extend": ("extend", "destroy", "nobody", "bring up"),
    "attach swap": ("attach swap", "destroy", "nobody", "launch"),
    "move": ("move", "destroy", "launch", "nobody"),
}


def region_of(command: str) -> str:
    """Where the nodes are when it is done."""
    return REGIONS[1] if command == "move" else REGIONS[0]


def specification(account: Account, command: str) -> ClusterSpec:
    return account.spec(
        roles={"manager": 1, "workers": {"count": 2, "swap": 1}},
        ec2={"schedule_role": SCHEDULE_ROLE, "region": region_of(command)},
    )


class Sweep:
    """Cases of one command in one kind of weather."""

    def __init__(
        self, cloud: Cloud, folder: Path, victims: Victims, weather: str, command: str
    ) -> None:
        self.cloud, self.folder, self.weather, self.command = cloud, folder, weather, command
        self.victims = victims
        self.cases = 0
        self._recoveries = itertools.cycle(RECOVERIES[command])

    def rehearse(self) -> None:
        account = self._account()
        for command in ("launch", "destroy"):
            self._prepare(account, command)

    def _account(self) -> Account:
        name = f"t{secrets.token_hex(4)}"
        return Account(self.cloud, self.folder / name, name)

    def prepared(self) -> Account:
        account = self._account()
        if (before := BEFORE[self.command]) is not None:
            self._prepare(account, before)
        return account

    def _prepare(self, account: Account, command: str) -> None:
        self.victims.prepare(account, specification(account, command), command)

    def done(self, account: Account, command: str) -> int:
        """The number of its changes of files."""
        status, said = self._run(account, command)
        assert status == 0, f"{command}: {said}"
        return int(said)

    def _run(self, account: Account, command: str, fatal: int = 0) -> tuple[int, str]:
        return self.victims.run(account, specification(account, command), command, fatal)

    def undisturbed(self) -> tuple[int, int, int]:
        """How many calls that change something, calls of any kind, and changes of files the command makes."""
        account = self.prepared()
        before = len(self.cloud.calls())
        changes = self.done(account, self.command)
        calls = self.cloud.calls()[before:]
        self.recover(account, "destroy")
        return sum(1 for call in calls if is_mutating(call.action)), len(calls), changes

    def kill_at_calls(self) -> None:
        changing, every, _ = self.undisturbed()
        assert 2 <= changing < every <= CALLS_MAX
        kills = [
            {"action": "any", "nth": nth, "when": when}
            for nth in range(1, changing + 1)
            for when in ("before", "after")
        ]
        if WHOLE or (self.weather == "fair" and self.command not in ("extend", "move")):
            kills += [
                {"action": "every", "nth": nth, "when": when}
                for nth in range(1, every + 1)
                for when in (("before", "after") if WHOLE else ("before",))
            ]
        for kill in kills:
            self.case(kill=kill)

    def kill_at_files(self) -> None:
        *_, changes = self.undisturbed()
        assert changes >= 2
        for nth in range(1, changes + 1):
            self.case(fatal=nth)

    def case(self, *, kill: dict[str, Any] | None = None, fatal: int = 0) -> None:
        recovery = next(self._recoveries)
        # Only leases that end by themselves, and those that are told of a longer one, need real guests.
        self.cloud.set(api_only=recovery != "nobody" and self.command != "extend")
        account = self.prepared()
        self.cloud.set(kill_caller=kill, **WEATHERS[self.weather])
        status, said = self._run(account, self.command, fatal)
        self.cloud.set(kill_caller=None)
        assert status in (-9, 0), f"{self.command} {kill or fatal}: {said}"
        self.cases += 1
        if self.cases % 4 == 0:
            # A second crash, in the recovery.
            second = "destroy" if recovery == "nobody" else recovery
            self._run(account, second, fatal=3 + self.cases % 11)
        self.recover(account, recovery)

    def recover(self, account: Account, how: str) -> None:
        if how == "nobody":
            self._let_the_leases_end(account)
        elif how != "destroy":
            self.done(account, how)
            assert self._names(account) == NAMES
            assert {one["region"] for one in account.living()} == {region_of(how)}
            if how in ("extend", "bring up"):
                self._expect_told(account)
            if how == "attach swap":
                self._expect_swap(account)
        self.done(account, "destroy")
        assert account.billable() == []
        assert not (account.state / "clusters" / account.name).exists()

    def _let_the_leases_end(self, account: Account) -> None:
        self.cloud.settle()
        # A guest's own clock does not jump: what has not booted would count its lease from now on.
        eventually(
            lambda: all(one["lease_s"] is not None for one in account.living()) or None,
            "every node has booted",
        )
        self.cloud.advance(LEASE_S + (LONGER_S if self.command == "extend" else 0) + 600)
        self.cloud.settle()
        assert account.living() == []
        assert not [line for line in account.billable() if " schedule " in line]

    def _names(self, account: Account) -> list[str]:
        return sorted(
            instance["tags"]["cloister:roles"]
            + str(int(instance["tags"]["cloister:first"]) + instance["launch_index"])
            for instance in account.living()
        )

    def _expect_told(self, account: Account) -> None:
        """All nodes end at the same time, and each when its tags say so."""
        living = account.living()
        told = {one["tags"]["cloister:expires"] for one in living}
        assert len(told) == 1
        left = int(told.pop()) - time.time()
        assert all(abs(one["lease_s"] - left) < 90 for one in living), (left, living)

    def _expect_swap(self, account: Account) -> None:
        """Besides its root each worker has one volume, and the manager none."""
        living = {one["id"]: one["tags"]["cloister:roles"] for one in account.living()}
        lines = [line.split() for line in account.billable() if " volume " in line]
        owners = sorted(living.get(line[3], line[3]) for line in lines)
        assert owners == ["manager", *["workers"] * 4], lines


@pytest.fixture
def sweep(request: pytest.FixtureRequest, tmp_path: Path, victims: Victims) -> Iterator[Sweep]:
    weather, command = request.param
    with Cloud.start(tmp_path / "cloud", regions=REGIONS, api_only=True) as cloud:
        sweep = Sweep(cloud, tmp_path / "machines", victims, weather, command)
        sweep.rehearse()
        cloud.set(api_only=False, **WEATHERS[weather])
        yield sweep
        assert cloud.billable() == []


@pytest.mark.slow
@pytest.mark.timeout(1800 if WHOLE else 900)
@pytest.mark.parametrize(
    "sweep",
    [
        (weather, command)
        for weather, command in itertools.product(WEATHERS, BEFORE)
        if WHOLE or command != "move" or weather in ("fair", "late")
    ],
    indirect=True,
    ids="-".join,
)
def test_no_crash_at_a_call_leaks_or_doubles_anything(
    sweep: Sweep, record_property: Callable[[str, object], None]
) -> None:
    sweep.kill_at_calls()
    record_property("crashes", sweep.cases)


@pytest.mark.slow
@pytest.mark.timeout(1800 if WHOLE else 900)
@pytest.mark.parametrize(
    "sweep",
    [
        (weather, command)
        for weather, command in itertools.product(WEATHERS, BEFORE)
        if WHOLE or weather == "fair" or (weather == "late" and command not in ("extend", "move"))
    ],
    indirect=True,
    ids="-".join,
)
def test_no_crash_at_a_file_leaks_or_doubles_anything(
    sweep: Sweep, record_property: Callable[[str, object], None]
) -> None:
    sweep.kill_at_files()
    record_property("crashes", sweep.cases)
