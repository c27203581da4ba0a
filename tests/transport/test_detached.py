from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from escapes import ESCAPES, UNMARKED, all_escapes
from eventually import eventually
from living import kill, living

from cloister.errors import NodeError, Refused
from cloister.plan.observed import Node
from cloister.transport.channel import Channel
from cloister.transport.links import Links


@pytest.fixture(autouse=True)
def nothing_left(mark: str) -> Iterator[None]:
    yield
    eventually(lambda: kill(left := living(mark)) or not left, what="strays of a test are killed")


def one(channel: Channel, name: str) -> dict[str, Any]:
    return next(state for state in channel.call("detached") if state["name"] == name)


def test_a_detached_process_survives_and_its_outcome_is_read_later(node: Node, mark: str) -> None:
    command = f"echo out; echo err >&2; while [ ! -e go ]; do sleep 0.02; done; exit 7 # {mark}"
    with Links() as links:
        folder = Path(links.channel(node).folder)
        pid = links.channel(node).call("detach", name="server", command=command)["pid"]
        assert one(links.channel(node), "server")["running"]
    assert pid in living(mark)
    with Links() as links:
        channel = links.channel(node)
        state = one(channel, "server")
        assert (state["running"], state["outcome"], state["command"]) == (True, None, command)
        (folder / "go").touch()
        state = channel.call("detached_wait", name="server", within_s=20.0)
        assert state["running"] is False
        assert (state["outcome"]["status"], state["outcome"]["signal"]) == (7, 0)
        assert state["outcome"]["stopped"] is False
        assert state["outcome"]["ended"] > state["outcome"]["started"]
        place = Path(state["place"])
        assert (place / "stdout.log").read_bytes() == b"out\n"
        assert (place / "stderr.log").read_bytes() == b"err\n"


def test_a_detached_process_survives_a_killed_agent(node: Node, mark: str) -> None:
    with Links() as links:
        channel = links.channel(node)
        channel.call("detach", name="server", command=f"sleep 300; : {mark}")
        os.kill(int(channel.start("echo $PPID").wait(10).stdout), signal.SIGKILL)
        eventually(lambda: not channel.is_open)
        assert one(links.channel(node), "server")["running"]
        assert living(mark)


def test_what_a_detached_process_forks_survives_the_end_of_the_channel(
    node: Node, mark: str
) -> None:
    """Also when it forks at the very moment at which the agent looks for what to kill."""
    forking = (
        f"for i in $(seq 100000); do /bin/true || exit 9; [ -e stop ] && exit 0; done # {mark}"
    )
    with Links() as links:
        channel = links.channel(node)
        folder = Path(channel.folder)
        for number in range(4):
            channel.call("detach", name=f"forking-{number}", command=forking)
        channel.start("sleep 300")
    (folder / "stop").touch()
    with Links() as links:
        channel = links.channel(node)
        for number in range(4):
            state = channel.call("detached_wait", name=f"forking-{number}", within_s=20.0)
            assert (state["outcome"] or {}).get("status") == 0


def test_a_detached_process_does_not_keep_the_ssh_session_open(node: Node, mark: str) -> None:
    with Links() as links:
        channel = links.channel(node)
        channel.call("detach", name="server", command=f"sleep 300; : {mark}")
        session = int(channel.start("ps -o ppid= -p $PPID").wait(10).stdout)
        keeper = one(channel, "server")["keeper"]
        assert {p.name for p in Path(f"/proc/{keeper}/fd").iterdir()} == {"0", "1", "2"}
    eventually(lambda: not Path(f"/proc/{session}").exists(), within_s=5)


def test_stopping_a_detached_process_ends_its_whole_tree(node: Node, mark: str) -> None:
    """Even what has left without a trace: the keeper is the parent of all that is orphaned."""
    with Links() as links:
        links.channel(node).call("detach", name="tree", command=all_escapes(mark))
    eventually(lambda: len(living(mark)) >= 2 * len(ESCAPES), what="all of the tree")
    assert UNMARKED
    with Links() as links:
        channel = links.channel(node)
        assert channel.call("detached_stop", name="tree") is True
        state = channel.call("detached_wait", name="tree", within_s=20.0)
        assert state["outcome"]["stopped"] is True
        assert not living(mark)


def test_a_detached_process_may_end_in_its_own_way_when_stopped(channel: Channel) -> None:
    command = "trap 'echo bye; exit 4' TERM; touch up; while :; do sleep 0.02; done"
    channel.call("detach", name="server", command=command)
    eventually((Path(channel.folder) / "up").exists)
    channel.call("detached_stop", name="server")
    state = channel.call("detached_wait", name="server", within_s=20.0)
    assert state["outcome"]["status"] == 4
    assert (Path(state["place"]) / "stdout.log").read_text() == "bye\n"


def test_when_a_detached_process_ends_what_it_left_behind_is_ended(
    channel: Channel, mark: str
) -> None:
    channel.call("detach", name="short", command=f"setsid sh -c 'sleep 300; : {mark}' & exit 3")
    state = channel.call("detached_wait", name="short", within_s=20.0)
    assert state["outcome"]["status"] == 3
    assert not living(mark)


def test_a_killed_keeper_is_reported_as_lost_and_its_process_found_by_mark(
    node: Node, mark: str
) -> None:
    # What ends it looks at all processes of the machine.
    name = f"orphaned-{mark}"
    with Links() as links:
        links.channel(node).call("detach", name=name, command=f"sleep 300; : {mark}")
    with Links() as links:
        channel = links.channel(node)
        os.kill(one(channel, name)["keeper"], signal.SIGKILL)
        eventually(lambda: not one(channel, name)["running"])
        state = channel.call("detached_wait", name=name, within_s=20.0)
        assert (state["running"], state["outcome"], state["keeper"]) == (False, None, 0)
        assert channel.call("detached_stop", name=name) is False
        assert living(mark)
        ended = channel.call("end_processes", marks=[f"CLOISTER_DETACHED={name}"])["processes"]
        assert {entry["why"] for entry in ended} == {"mark"}
        assert not living(mark)


def test_a_running_name_cannot_be_taken_and_an_ended_one_can(channel: Channel, mark: str) -> None:
    channel.call("detach", name="name", command=f"sleep 300; : {mark}")
    with pytest.raises(NodeError, match="runs already"):
        channel.call("detach", name="name", command="true")
    channel.call("detached_stop", name="name")
    channel.call("detached_wait", name="name", within_s=20.0)
    channel.call("detach", name="name", command="exit 5")
    assert channel.call("detached_wait", name="name", within_s=20.0)["outcome"]["status"] == 5


def test_waiting_ends_when_the_time_is_over(channel: Channel, mark: str) -> None:
    channel.call("detach", name="long", command=f"sleep 300; : {mark}")
    assert channel.call("detached_wait", name="long", within_s=0.2)["running"] is True


def test_what_cannot_start_is_an_error_and_leaves_no_trace(channel: Channel) -> None:
    with pytest.raises(Refused, match="no-such-program"):
        channel.call("detach", name="none", command=["no-such-program"])
    with pytest.raises(Refused, match="no-such-folder"):
        channel.call("detach", name="none", command="true", folder="no-such-folder")
    assert channel.call("detached") == []


def test_an_unknown_detached_process_is_an_error(channel: Channel) -> None:
    for operation in (
        {"operation": "detached_stop"},
        {"operation": "detached_wait", "within_s": 1.0},
    ):
        with pytest.raises(NodeError, match="no detached process 'nobody'"):
            channel.call(name="nobody", **operation)
