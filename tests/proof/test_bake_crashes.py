"""bake and prune killed before and after every API call, those that only look too, and before every change
of a file.

After a kill of `bake`, in turn: `bake` again must end with exactly one image more than there were bakes
that had finished; or nobody bakes again, and `prune` alone must find what was made. In every third case
the recovery is killed as well before the next one. After a kill of `prune`, `prune` again must leave
nothing. In each case nothing is left at last that costs, but for the development instance, which is the
user's own. In fair and in bad weather: what was made is not seen for a while, and replies are lost.
"""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bakery import Bakery, client, development_instance
from cloud.client import Cloud
from cloud.using import eventually
from sweeping import Victims

LOST = ["CreateImage#1", "DeregisterImage#1", "DeleteSnapshot#1"]
LATE = {"visible_after_s": 0.4, "stale_s": 0.2}
WEATHERS: dict[str, dict[str, Any]] = {
    "fair": {},
    "late": LATE,
    "lossy": {"lose_reply": LOST},
    "late and lossy": {**LATE, "lose_reply": LOST},
}
RECOVERIES = {"bake": ("bake", "bake", "prune"), "prune": ("prune",)}
CALLS_MAX = 40


class Sweep:
    """Cases of one command in one kind of weather."""

    def __init__(
        self, cloud: Cloud, folder: Path, victims: Victims, weather: str, command: str
    ) -> None:
        self.cloud, self.folder, self.weather, self.command = cloud, folder, weather, command
        self.victims = victims
        self.address = development_instance(client(cloud))["PublicIpAddress"]
        self.before = cloud.billable()
        self.cases = 0
        self._recoveries = itertools.cycle(RECOVERIES[command])

    def rehearse(self) -> None:
        bakery = self._bakery()
        for command in ("bake", "prune"):
            self._prepare(bakery, command)
        assert self.cloud.billable() == self.before

    def _bakery(self) -> Bakery:
        name = f"t{secrets.token_hex(4)}"
        return Bakery(self.cloud, self.folder / name, name, self.address)

    def prepared(self) -> Bakery:
        bakery = self._bakery()
        if self.command == "prune":
            self.cloud.set(**WEATHERS[self.weather])
            self._prepare(bakery, "bake")
            # Else there may be nothing yet that it could remove.
            eventually(lambda: self._seen(bakery), "the image is seen")
        return bakery

    def _prepare(self, bakery: Bakery, command: str) -> None:
        self.victims.prepare(bakery, bakery.spec(), command)

    def done(self, bakery: Bakery, command: str) -> int:
        """The number of its changes of files."""
        status, said = self._run(bakery, command)
        assert status == 0, f"{command}: {said}"
        return int(said)

    def _run(self, bakery: Bakery, command: str, fatal: int = 0) -> tuple[int, str]:
        return self.victims.run(bakery, bakery.spec(), command, fatal)

    def undisturbed(self) -> tuple[int, int]:
        """How many calls and how many changes of files the command makes."""
        bakery = self.prepared()
        self.cloud.set(**WEATHERS[self.weather])
        before = len(self.cloud.calls())
        changes = self.done(bakery, self.command)
        calls = len(self.cloud.calls()) - before
        self.done(bakery, "prune")
        return calls, changes

    def kill_everywhere(self) -> None:
        calls, changes = self.undisturbed()
        assert 4 <= calls <= CALLS_MAX and changes >= 2
        for nth, when in itertools.product(range(1, calls + 1), ("before", "after")):
            self.case(kill={"action": "every", "nth": nth, "when": when})
        for nth in range(1, changes + 1):
            self.case(fatal=nth)

    def case(self, *, kill: dict[str, Any] | None = None, fatal: int = 0) -> None:
        bakery = self.prepared()
        self.cloud.set(kill_caller=kill, **WEATHERS[self.weather])
        status, said = self._run(bakery, self.command, fatal)
        self.cloud.set(kill_caller=None)
        # Waiting takes more or fewer looks each time.
        assert status in (-9, 0), f"{self.command} {kill or fatal}: {said}"
        self.cases += 1
        recovery = next(self._recoveries)
        if self.cases % 3 == 0:
            self.cloud.set(
                kill_caller={"action": "every", "nth": 1 + self.cases % 7, "when": "after"}
            )
            self._run(bakery, recovery)
            self.cloud.set(kill_caller=None)
        if recovery == "bake":
            finished = self._finished(bakery)
            self.done(bakery, "bake")
            assert len(bakery.own()) == finished + 1, (kill or fatal, bakery.own())
            self.done(bakery, "prune")
        else:
            eventually(lambda: self._pruned(bakery), "all that was made is removed")
        assert self.cloud.billable() == self.before

    def _seen(self, bakery: Bakery) -> bool:
        names = [{"Name": "name", "Values": [f"{bakery.name}*"]}]
        ec2 = client(self.cloud)
        images = ec2.describe_images(Owners=["self"], Filters=names)["Images"]
        snapshots = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        return bool(snapshots) and [image["State"] for image in images] == ["available"]

    def _finished(self, bakery: Bakery) -> int:
        """Bakes that were only killed when they had nothing more to do than to say so."""
        paths = bakery.state.glob("images/*/*/journal.jsonl")
        lines = [line for path in paths for line in path.read_text().splitlines()]
        return sum(1 for line in lines if "settled" in json.loads(line))

    def _pruned(self, bakery: Bakery) -> bool:
        """What is being made, or is not seen yet, goes the next time."""
        self.done(bakery, "prune")
        return self.cloud.billable() == self.before


@pytest.fixture
def sweep(request: pytest.FixtureRequest, tmp_path: Path, victims: Victims) -> Iterator[Sweep]:
    weather, command = request.param
    with Cloud.start(tmp_path / "cloud", regions=["us-east-1"], api_only=True) as cloud:
        sweep = Sweep(cloud, tmp_path / "machines", victims, weather, command)
        sweep.rehearse()
        yield sweep


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "sweep",
    list(itertools.product(WEATHERS, RECOVERIES)),
    indirect=True,
    ids="-".join,
)
def test_no_crash_leaves_an_image_too_many_or_too_few(
    sweep: Sweep, record_property: Callable[[str, object], None]
) -> None:
    sweep.kill_everywhere()
    record_property("crashes", sweep.cases)
