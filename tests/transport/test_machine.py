from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eventually import eventually
from living import living

from cloister.errors import Busy
from cloister.plan.observed import Node
from cloister.transport.channel import Channel
from cloister.transport.links import Links


def test_facts_are_those_of_the_machine(channel: Channel) -> None:
    facts = channel.call("facts")
    assert facts["cpus"] == len(os.sched_getaffinity(0))
    assert facts["kernel"] == os.uname().release
    assert facts["machine"] == os.uname().machine
    assert facts["memory_bytes"] > 1 << 27
    assert facts["disk_free_bytes"] > 0
    assert facts["system"]


# --- exclusive use -------------------------------------------------------------------------------


def test_a_held_node_is_refused_to_others_in_the_words_of_its_holder(node: Node) -> None:
    with Links() as first, Links() as second:
        first.channel(node).call("hold", path="lock", holder="the sweep of ann")
        with pytest.raises(Busy, match="the sweep of ann") as raised:
            second.channel(node).call("hold", path="lock", holder="bob")
        assert raised.value.hint
        second.channel(node).call("hold", path="another/lock", holder="bob")


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_a_node_is_free_again_when_its_holder_has_gone(node: Node, how: str, mark: str) -> None:
    with Links() as first, Links() as second:
        channel = first.channel(node)
        channel.call("hold", path="lock", holder="first")
        # Neither attached nor detached processes inherit the lock.
        channel.start("sleep 300")
        channel.call("detach", name=mark, command="sleep 300")
        agent = int(channel.start("echo $PPID").wait(10).stdout)
        if how == "closed":
            first.close()
        else:
            os.kill(agent, signal.SIGKILL)

        def free() -> bool:
            try:
                second.channel(node).call("hold", path="lock", holder="second")
            except Busy:
                return False
            return True

        eventually(free, within_s=5, what="the lock is free")
        # A name that nothing else on this machine has.
        second.channel(node).call("end_processes", marks=[f"CLOISTER_DETACHED={mark}"])


# --- ending what should not run ------------------------------------------------------------------


@pytest.fixture
def sleeper(tmp_path: Path, mark: str) -> Iterator[Path]:
    """A program with a name of its own."""
    program = tmp_path / f"sleeper-{mark[-6:]}"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    yield program
    for pid in living(program.name):
        os.kill(pid, signal.SIGKILL)


def ended(channel: Channel, **wanted: Any) -> list[dict[str, Any]]:
    return channel.call("end_processes", **wanted)["processes"]  # type: ignore[no-any-return]


def test_processes_are_ended_by_their_marks_wherever_they_went(channel: Channel, mark: str) -> None:
    script = f"setsid sh -c 'trap \"\" TERM; sleep 300; : {mark}' & nohup sh -c 'sleep 300; : {mark}' & wait"
    channel.start(script, env={"CLOISTER_TRIAL": mark, "CLOISTER_NAME": "x"})
    other = channel.start("sleep 300", env={"CLOISTER_TRIAL": mark, "CLOISTER_NAME": "y"})
    eventually(lambda: len(living(mark)) >= 3)
    marks = [f"CLOISTER_TRIAL={mark}", "CLOISTER_NAME=x"]
    found = channel.call("list_processes", marks=marks)["processes"]
    assert len(found) >= 3
    entries = ended(channel, marks=marks)
    assert {entry["why"] for entry in entries} == {"mark"}
    assert all(entry["killed"] for entry in entries)
    assert not living(mark)
    assert not other.is_over
    other.stop()


def test_a_mark_must_be_the_whole_entry(channel: Channel, mark: str) -> None:
    process = channel.start("sleep 300", env={"CLOISTER_TRIAL": mark + "-more"})
    process.wait_started(10)
    assert ended(channel, marks=[f"CLOISTER_TRIAL={mark}"]) == []
    assert not process.is_over
    process.stop()


def test_processes_are_ended_by_their_exact_name(channel: Channel, sleeper: Path) -> None:
    """Started by somebody else, so that nothing but the name is known of them."""
    longer = sleeper.with_name(sleeper.name + "-longer")
    shutil.copy(sleeper, longer)
    wanted = subprocess.Popen([sleeper, "300"])
    deleted = subprocess.Popen([sleeper, "299"])
    spared = [
        subprocess.Popen([longer, "300"]),
        subprocess.Popen(
            [
                "sleep",
                "300",
            ]
        ),
    ]
    named = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)", sleeper.name])
    sleeper.unlink()
    try:
        entries = ended(channel, names=[sleeper.name])
        assert {entry["pid"] for entry in entries} == {wanted.pid, deleted.pid}
        assert all(entry["executable"] == sleeper.name for entry in entries)
        assert [process.poll() for process in (*spared, named)] == [None] * 3
        assert wanted.wait(5) == deleted.wait(5) == -signal.SIGKILL
    finally:
        for process in (wanted, deleted, *spared, named):
            process.kill()
            process.wait()


LISTENER = """
import socket, sys, time
listening = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("up", flush=True)
time.sleep(300)
"""


def listener(address: str, port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENER, address, str(port)], stdout=subprocess.PIPE
    )
    assert process.stdout
    assert process.stdout.readline() == b"up\n"
    return process


def test_who_listens_on_a_port_of_the_node_is_ended(
    channel: Channel, nodes: tuple[Node, ...]
) -> None:
    mine = listener(nodes[0].address, 20_100)
    neighbours = listener(nodes[1].address, 20_100)
    try:
        entries = ended(channel, ports=[20_100, 20_101], address=nodes[0].address)
        assert [(entry["pid"], entry["why"]) for entry in entries] == [(mine.pid, "port 20100")]
        assert mine.wait(5) == -signal.SIGKILL
        assert neighbours.poll() is None
    finally:
        for process in (mine, neighbours):
            process.kill()
            process.wait()


def test_it_never_ends_itself_or_what_carries_it(
    cluster: Any, channel: Channel, node: Node
) -> None:
    """Not even when its own name, its cluster's mark and its sshd's port are given."""
    mine = int(channel.start("echo $PPID").wait(10).stdout)
    python = Path(f"/proc/{mine}/exe").readlink().name
    listed = channel.call(
        "list_processes", ports=[node.port], address=node.address, cluster=cluster.uid
    )
    by_name = channel.call("list_processes", names=[python], cluster=cluster.uid)
    pids = {entry["pid"] for entry in [*listed["processes"], *by_name["processes"]]}
    assert mine not in pids
    ancestors = []
    pid = mine
    while pid > 1:
        ancestors.append(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert not pids.intersection(ancestors)
    assert channel.call("end_processes", ports=[node.port], address=node.address)["processes"] == []
    assert channel.call("echo") is None
