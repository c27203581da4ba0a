"""cloister's launch beside Flintrock's and the first cloister's, on the same simulated EC2, in alternating rounds.

    python benchmarks/launching.py --nodes 8,100 --rounds 3 --peers cloister,flintrock,original
    python benchmarks/launching.py --nodes 1000 --rounds 1
    python benchmarks/launching.py --sshds 20

README.md says what is simulated and how.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from cloud.client import Call, Cloud  # noqa: E402
from launch_table import leak_table, speed_table  # noqa: E402

REGION = "us-east-1"
PORT = 2222
KEY, PLACEMENT_GROUP = "users-key", "clamor"
# Published times in seconds: pending → running, and running → the SSH server answers.
BOOT_S, SSH_AFTER_S = (5.0, 17.0), (3.0, 20.0)
# How long AWS works on a call before it has any effect; published for RunInstances, usual for others.
WORKS_S = {"*": 0.1, "RunInstances": 1.5}
LEASE_S = 5 * 3600
LEAK_NODES = 4
BOOTED_WITHIN_S = 30.0
ENDS_WITHIN_S = 60.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Peer:
    name: str
    module: str
    python: Path

    @property
    def version(self) -> str | None:
        """None if it is not installed."""
        if self.name == "original":
            return "of 2021"
        asked = f"import importlib.metadata as m; print(m.version({self.name!r}))"
        try:
            said = subprocess.run(
                [self.python, "-c", asked], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return said.stdout.strip()


def peers(flintrock: Path) -> list[Peer]:
    """flintrock: the interpreter that has it, because it needs a boto3 of its own."""
    own = Path(sys.executable)
    return [
        Peer(name="cloister", module="launch_cloister", python=own),
        Peer(name="flintrock", module="launch_flintrock", python=flintrock),
        Peer(name="original", module="launch_original", python=own),
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """How a launcher's process has ended: its answer, or why there is none."""

    answer: dict[str, Any]
    failure: str


class Bench:
    """A simulated cloud of its own for one launch, so that all peers meet full buckets and equal boots."""

    def __init__(self, cloud: Cloud, folder: Path, peer: Peer, count: int) -> None:
        self.cloud, self._folder, self._peer, self._count = cloud, folder, peer, count
        self._image = _prepared(cloud)

    def run(self, action: str, limit_s: float) -> Ended:
        order = {
            "action": action,
            "name": "bench",
            "nodes": self._count,
            "region": REGION,
            "port": PORT,
            "image": self._image,
            "key_pair": KEY,
            "folder": str(self._folder / "state"),
        }
        try:
            ended = subprocess.run(
                [self._peer.python, HERE / "peers" / f"{self._peer.module}.py"],
                input=json.dumps(order),
                capture_output=True,
                text=True,
                timeout=limit_s,
                env={**self.cloud.env, "PYTHONPATH": str(ROOT)},
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Ended(answer={}, failure=f"not through within {limit_s:g} s")
        if ended.returncode != 0:
            return Ended(
                answer={}, failure=f"exit status {ended.returncode}: {ended.stderr[-800:]}"
            )
        answer = json.loads(ended.stdout)
        return Ended(answer=answer, failure=answer["failure"])

    def instances(self) -> list[dict[str, Any]]:
        return self.cloud.instances()

    def living(self) -> int:
        return sum(one["state"] not in ("shutting-down", "terminated") for one in self.instances())


def _prepared(cloud: Cloud) -> str:
    """What peers expect to be there already; the image's id. The simulation has read its tables then."""
    import boto3

    variables = cloud.variables
    session = boto3.Session(
        variables["AWS_ACCESS_KEY_ID"],
        variables["AWS_SECRET_ACCESS_KEY"],
        region_name=REGION,
    )
    ec2 = session.client("ec2", endpoint_url=cloud.endpoint)
    ec2.create_key_pair(KeyName=KEY, KeyType="ed25519")
    ec2.create_placement_group(GroupName=PLACEMENT_GROUP, Strategy="cluster")
    ec2.describe_instance_types(InstanceTypes=["c7i.large"])
    ec2.describe_subnets()
    (image,) = ec2.describe_images(Owners=["self"])["Images"]
    return str(image["ImageId"])


def measured(peer: Peer, count: int, scale: float, seed: int, limit_s: float) -> dict[str, Any]:
    """One launch: how long, with which calls, with how much CPU."""
    dealer = random.Random(seed)
    boots = [scale * dealer.uniform(*BOOT_S) for _ in range(count)]
    greets = [scale * dealer.uniform(*SSH_AFTER_S) for _ in range(count)]
    settings = {
        "api_only": True,
        "boot_s": boots,
        "ssh_after_s": greets,
        "works_s": WORKS_S,
        "regions": [REGION],
    }
    with (
        tempfile.TemporaryDirectory(prefix="launching-") as folder,
        Cloud.start(Path(folder) / "cloud", **settings) as cloud,
    ):
        bench = Bench(cloud, Path(folder), peer, count)
        # Last, so that preparing has taken no tokens.
        cloud.set(throttle=True)
        before, cloud_s = len(cloud.calls()), _cpu_s(cloud)
        ended = bench.run("launch", limit_s)
        cloud_s = _cpu_s(cloud) - cloud_s
        calls = cloud.calls()[before:]
        slowest_s = max(boot + after for boot, after in zip(boots, greets, strict=True))
        return {
            "peer": peer.name,
            "nodes": count,
            "slowest_s": slowest_s,
            "cloud_cpu_s": cloud_s,
            "all_open_s": _all_open_s(bench, count),
            "living": bench.living(),
            **_counted(calls),
            **ended.answer,
            "failure": ended.failure,
        }


def _all_open_s(bench: Bench, count: int) -> float | None:
    """When the last node was let answer, whoever waited for it; None if there are not all of them."""
    ends_at = time.monotonic() + BOOTED_WITHIN_S
    while time.monotonic() < ends_at:
        opened = [one["opened_s"] for one in bench.instances() if one["opened_s"]]
        if len(opened) >= count:
            return max(opened)
        if bench.living() < count:
            return None
        time.sleep(1)
    return None


def _counted(calls: Sequence[Call]) -> dict[str, int]:
    kinds = {"run": 0, "describe": 0, "tags": 0, "other": 0, "refused": 0, "single": 0}
    for call in calls:
        kinds["refused"] += call.error == "RequestLimitExceeded"
        kinds["single"] += _names_one(call)
        if call.action == "RunInstances":
            kinds["run"] += 1
        elif call.action in ("CreateTags", "DeleteTags"):
            kinds["tags"] += 1
        elif call.action.startswith("Describe"):
            kinds["describe"] += 1
        else:
            kinds["other"] += 1
    return kinds


def _names_one(call: Call) -> bool:
    """Whether the call is about a single instance."""
    named = [value for value in call.parameters.values() if str(value).startswith("i-")]
    return len(named) == 1


def _cpu_s(cloud: Cloud) -> float:
    """Of all threads of the server, user and system time."""
    stat = Path(f"/proc/{cloud.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def leaks(peer: Peer, nth: int) -> dict[str, Any]:
    """Instances that are left when a launch was killed right after its nth RunInstances was carried out:
    after the peer's own destroy, and when nobody comes back and five hours pass."""
    row: dict[str, Any] = {"peer": peer.name, "nth": nth}
    for recovery in ("destroy", "nobody"):
        with (
            tempfile.TemporaryDirectory(prefix="launching-") as folder,
            Cloud.start(Path(folder) / "cloud", regions=[REGION]) as cloud,
        ):
            bench = Bench(cloud, Path(folder), peer, LEAK_NODES)
            cloud.set(kill_caller={"action": "RunInstances", "nth": nth, "when": "after"})
            ended = bench.run("launch", 120)
            cloud.set(kill_caller=None)
            if "exit status -9" not in ended.failure:
                raise SystemExit(f"{peer.name} was not killed: {ended.failure or 'it was through'}")
            row["made"] = bench.living()
            if recovery == "destroy":
                row["destroy_said"] = bench.run("destroy", 120).failure
            else:
                _await_boots(bench)
                cloud.advance(LEASE_S)
            row[recovery] = bench.living()
    return row


def _await_boots(bench: Bench) -> None:
    """Until their user data has run, where there is any."""
    ends_at = time.monotonic() + BOOTED_WITHIN_S
    while time.monotonic() < ends_at:
        if all(one["pid"] for one in bench.instances()):
            break
        time.sleep(0.1)
    # The guest's first shell lines.
    time.sleep(1)


def with_sshds(count: int) -> dict[str, Any]:
    """cloister's whole `launch` on instances that are real sshds: logged in to, names copied to each."""
    import getpass

    os.environ.pop("SSH_AUTH_SOCK", None)
    from cloister.cluster.lifecycle import destroy
    from cloister.config.spec import ClusterSpec
    from cloister.deploy.bringing_up import bring_up
    from cloister.providers.provider import NodeEvent

    dealer = random.Random(1)
    boots = [dealer.uniform(*BOOT_S) for _ in range(count)]
    greets = [dealer.uniform(*SSH_AFTER_S) for _ in range(count)]
    spec = ClusterSpec.model_validate(
        {
            "name": "sshds",
            "provider": "ec2",
            "roles": {"manager": 1, "workers": count - 1},
            "ssh": {"user": getpass.getuser(), "port": PORT},
            "ec2": {"region": REGION, "machine": "c7i.large", "image": "ubuntu-24.04"},
        }
    )
    ready_s = [0.0]

    def report(event: NodeEvent) -> None:
        if event.kind == "running":
            ready_s[0] = time.time()

    with (
        tempfile.TemporaryDirectory(prefix="launching-") as folder,
        Cloud.start(
            Path(folder) / "cloud",
            boot_s=boots,
            ssh_after_s=greets,
            works_s=WORKS_S,
            throttle=True,
            regions=[REGION],
        ) as cloud,
    ):
        _prepared(cloud)
        os.environ.update(cloud.variables)
        state, began_s = Path(folder) / "state", time.time()
        bring_up(
            spec,
            state=state,
            servers=Path(folder) / "servers",
            wait_s=1,
            report=report,
            say=lambda text: None,
        )
        took_s = time.time() - began_s
        destroy("sshds", state=state, spec=spec)
        slowest_s = max(boot + after for boot, after in zip(boots, greets, strict=True))
        return {
            "nodes": count,
            "slowest_s": slowest_s,
            "ready_s": ready_s[0] - began_s,
            "took_s": took_s,
        }


def options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", default="8,100", help="numbers of nodes (%(default)s)")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--peers", default="cloister,flintrock,original", help="of %(default)s")
    parser.add_argument("--scale", type=float, default=1.0, help="of the published boot times")
    parser.add_argument("--limit", type=float, default=600, help="seconds that one launch may take")
    parser.add_argument("--seed", type=int, default=1, help="of boot times and order of peers")
    parser.add_argument("--no-leaks", action="store_true", help="do not kill launches")
    parser.add_argument("--sshds", type=int, default=0, help="only cloister, on so many real sshds")
    parser.add_argument(
        "--flintrock",
        type=Path,
        default=ROOT / ".venv" / "flintrock" / "bin" / "python",
        help="the interpreter that has Flintrock (%(default)s)",
    )
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    return parser.parse_args(arguments)


def rows(chosen: argparse.Namespace, present: Sequence[Peer]) -> Iterator[dict[str, Any]]:
    """Rounds outermost, peers side by side, in another order each time."""
    dealer = random.Random(chosen.seed)
    for number in range(1, chosen.rounds + 1):
        for count in (int(text) for text in chosen.nodes.split(",")):
            for peer in dealer.sample(list(present), len(present)):
                row = measured(peer, count, chosen.scale, chosen.seed, chosen.limit)
                yield {"round": number, **row}


def progress(row: dict[str, Any]) -> str:
    took = row.get("returned_s", 0) - row.get("began_s", 0)
    where = f"{row['nodes']:>5} nodes  round {row['round']}  {row['peer']:<10}"
    return f"{where} {took:7.2f} s  {row['failure'][:100]}"


def main(arguments: Sequence[str]) -> int:
    chosen = options(arguments)
    # An ended benchmark ends its clouds: as an exception, so that every `finally` runs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if chosen.sshds:
        print(json.dumps(with_sshds(chosen.sshds)))
        return 0
    known = [peer for peer in peers(chosen.flintrock) if peer.name in chosen.peers.split(",")]
    versions = {peer.name: peer.version for peer in known}
    for name in (name for name, version in versions.items() if version is None):
        print(f"skipped: {name} is not installed", file=sys.stderr)
    present = [peer for peer in known if versions[peer.name] is not None]
    found: dict[str, Any] = {"versions": versions, "rows": [], "leaks": []}
    for row in rows(chosen, present):
        found["rows"].append(row)
        print(progress(row), file=sys.stderr, flush=True)
    for peer in () if chosen.no_leaks else present:
        found["leaks"] += [leaks(peer, nth) for nth in (1, 2)]
        print(f"killed: {peer.name}", file=sys.stderr, flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores")
    print(", ".join(f"{name} {version}" for name, version in versions.items() if version))
    print(speed_table(found["rows"]))
    print(leak_table(found["leaks"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
