"""cloister beside its peers: the same work on many local OpenSSH nodes, in alternating rounds.

    python benchmarks/fanout.py --nodes 8,32 --cases a,b --rounds 3 --peers cloister,fabric

README.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import platform
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from cases import CASES, prepare_home
from measure import MARK
from peers import ENTRIES, Entry
from processes import marked
from sshds import Sshds, running
from table import tables

HERE = Path(__file__).parent
# A hundred nodes that share one disk would mostly measure its file system: ext4 passes over inodes that
# were freed a short time ago, so that whoever comes after another copy would pay for its removal.
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    nodes: list[int]
    cases: list[str]
    rounds: int
    peers: list[str]
    limit_s: float
    seed: int
    json: Path | None


def options(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [entry.name for entry in ENTRIES]
    parser.add_argument("--nodes", default="8,32,100", help="numbers of nodes (%(default)s)")
    parser.add_argument("--cases", default=",".join(CASES), help="of %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default=",".join(names), help="of %(default)s")
    parser.add_argument(
        "--limit", type=float, default=180, help="seconds that one measurement may take"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the order of the peers")
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    given = parser.parse_args(arguments)
    chosen = Options(
        nodes=[int(number) for number in given.nodes.split(",")],
        cases=given.cases.split(","),
        rounds=given.rounds,
        peers=given.peers.split(","),
        limit_s=given.limit,
        seed=given.seed,
        json=given.json,
    )
    for kind, wrong in (
        ("case", set(chosen.cases) - set(CASES)),
        ("peer", set(chosen.peers) - set(names)),
    ):
        if wrong:
            parser.error(f"unknown {kind}: {', '.join(sorted(wrong))}")
    return chosen


def installed(names: Sequence[str]) -> dict[str, str]:
    """Version by name; who is missing is said and left out."""
    versions = {}
    for entry in ENTRIES:
        if entry.name not in names:
            continue
        version = entry.version()
        if version is None:
            print(f"skipped: {entry.name} is not installed", file=sys.stderr)
        else:
            versions[entry.name] = version
    return versions


def measure_all(chosen: Options, versions: dict[str, str]) -> Iterator[list[dict]]:
    """The rows of one measurement after the other."""
    for count in chosen.nodes:
        with (
            tempfile.TemporaryDirectory(prefix="fanout-", dir=_MEMORY) as folder,
            running(Path(folder) / "nodes", count) as nodes,
        ):
            too_slow: set[tuple[str, str]] = set()
            for number, case, entry in plan(chosen, versions):
                # Whoever was not through in time would only hold up the other rounds.
                if (entry.name, case) in too_slow:
                    continue
                found = measure(nodes, entry, case, chosen.limit_s)
                if found[-1].get("too_slow"):
                    too_slow.add((entry.name, case))
                yield [{"nodes": count, "round": number, "peer": entry.name, **f} for f in found]


def plan(chosen: Options, versions: dict[str, str]) -> Iterator[tuple[int, str, Entry]]:
    """Rounds outermost, peers side by side within a case, in another order each time."""
    generator = random.Random(chosen.seed)
    present = [entry for entry in ENTRIES if entry.name in versions]
    for number in range(1, chosen.rounds + 1):
        for case in chosen.cases:
            able = [entry for entry in present if case in entry.cases]
            for entry in generator.sample(able, len(able)):
                yield number, case, entry


def measure(nodes: Sshds, entry: Entry, case: str, limit_s: float) -> list[dict]:
    """The samples of one measurement, or one row that says why there are none."""
    for node in nodes.nodes:
        prepare_home(nodes.home(node), node)
    mark = secrets.token_hex(8)
    with tempfile.TemporaryDirectory(prefix="peer-", dir=_MEMORY) as scratch:
        order = {
            "peer": entry.name,
            "case": case,
            "nodes": [dataclasses.asdict(node) for node in nodes.nodes],
            "root": str(nodes.root),
            "scratch": scratch,
            "sshd_pids": nodes.pids,
        }
        try:
            return in_own_process(order, mark, limit_s)
        finally:
            end_marked(mark)
            nodes.end_sessions()
            for node in nodes.nodes:
                empty(nodes.home(node))


def in_own_process(order: dict, mark: str, limit_s: float) -> list[dict]:
    try:
        ended = subprocess.run(
            [sys.executable, HERE / "measure.py"],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            timeout=limit_s,
            env=os.environ | {MARK: mark},
            check=False,
        )
    except subprocess.TimeoutExpired:
        failure = f"not through within {limit_s:g} s"
        return [{"case": order["case"], "failure": failure, "too_slow": True}]
    if ended.returncode != 0:
        lines = ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"]
        return [{"case": order["case"], "failure": lines[-1], "stderr": ended.stderr[-4000:]}]
    return json.loads(ended.stdout)


def end_marked(mark: str) -> None:
    """Processes that a measurement left behind; only its own carry its mark."""
    for pid in marked(f"{MARK}={mark}"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def empty(home: Path) -> None:
    for entry in home.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def progress(row: dict) -> str:
    where = f"{row['nodes']:>4} nodes  round {row['round']}  {row['case']:<3} {row['peer']:<24}"
    if "failure" in row:
        return f"{where} failed: {row['failure']}"
    return f"{where} {row['wall_s']:8.3f} s"


def machine() -> dict[str, str]:
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr.strip()
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "ssh": ssh,
        "load at the start": f"{os.getloadavg()[0]:.1f}",
    }


def main(arguments: Sequence[str]) -> int:
    chosen = options(arguments)
    if os.geteuid() != 0:
        print("the nodes' homes are mounted, which needs root", file=sys.stderr)
        return 2
    # An ended benchmark ends its nodes: as an exception, so that every `finally` runs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    versions = installed(chosen.peers)
    facts = machine()
    rows: list[dict] = []
    # Closed by hand, so that the nodes end before a signal's exception leaves this function.
    with contextlib.closing(measure_all(chosen, versions)) as measurements:
        for found in measurements:
            rows += found
            print(progress(rows[-1]), file=sys.stderr, flush=True)
            if chosen.json is not None:
                # After each, so that a run that is broken off leaves what it has.
                report = {"machine": facts, "versions": versions, "rows": rows}
                chosen.json.write_text(json.dumps(report, indent=1) + "\n")
    print(tables(rows, versions, facts))
    return 1 if any("failure" in row for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
