from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from escapes import ESCAPES, MOVING, UNMARKED, all_escapes, escape
from eventually import eventually
from living import kill, living

from cloister.errors import ConnectionLost
from cloister.plan.observed import Node
from cloister.providers.nodes import node_to_json
from cloister.transport.channel import Channel
from cloister.transport.links import Links

GONE_WITHIN_S = 2.0
CLIENT = Path(__file__).with_name("client.py")


@pytest.fixture(autouse=True)
def nothing_left(mark: str) -> Iterator[None]:
    yield
    for _ in range(50):
        if not (left := living(mark)):
            return
        kill(left)
        time.sleep(0.01)


def started(mark: str, *, at_least: int = 2) -> dict[int, str]:
    """When the escape is under way."""
    return eventually(
        lambda: pids if len(pids := living(mark)) >= at_least else {}, what=f"processes of {mark}"
    )


def expect_gone(mark: str, began: float) -> None:
    left = 1.0
    while left and time.monotonic() - began < GONE_WITHIN_S:
        left = len(living(mark))
        time.sleep(0.01)
    # Looked at twice, because a moving target may be missed by one look.
    time.sleep(0.05)
    assert not living(mark)


@pytest.mark.parametrize("name", ESCAPES)
def test_everything_attached_is_gone_when_the_channel_closes(
    node: Node, mark: str, name: str
) -> None:
    with Links() as links:
        links.channel(node).start(escape(name, mark))
        started(mark)
        began = time.monotonic()
    expect_gone(mark, began)


def beats(beat: Path) -> bool:
    before = beat.stat().st_mtime_ns
    time.sleep(0.3)
    return beat.stat().st_mtime_ns != before


@pytest.mark.parametrize("how", ["close", "stop"])
def test_what_forks_and_leaves_again_and_again_is_caught(node: Node, how: str) -> None:
    with Links() as links:
        channel = links.channel(node)
        beat = Path(channel.folder) / "beat"
        process = channel.start(MOVING)
        eventually(beat.exists)
        assert beats(beat)
        if how == "stop":
            process.stop(signal.SIGKILL)
            assert not beats(beat)
    eventually(lambda: not beats(beat), within_s=GONE_WITHIN_S)


@pytest.fixture
def client(node: Node, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own that uses the transport on lines of standard input."""
    (tmp_path / "node.json").write_text(json.dumps(node_to_json(node)))
    with subprocess.Popen(
        [sys.executable, CLIENT, tmp_path / "node.json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def tell(client: subprocess.Popen[bytes], how: str, command: str) -> None:
    assert client.stdin and client.stdout
    client.stdin.write(f"{how} {command.encode().hex()}\n".encode())
    client.stdin.flush()
    assert client.stdout.readline() == b"ready\n"


def test_everything_attached_is_gone_when_the_client_is_killed(
    client: subprocess.Popen[bytes], mark: str
) -> None:
    tell(client, "channel", all_escapes(mark))
    started(mark, at_least=2 * len(ESCAPES))
    began = time.monotonic()
    client.kill()
    expect_gone(mark, began)


def test_everything_of_a_single_command_is_gone_when_the_client_is_killed(
    client: subprocess.Popen[bytes], mark: str
) -> None:
    tell(client, "once", all_escapes(mark, without=(*UNMARKED, "bomb")))
    started(mark, at_least=len(ESCAPES))
    began = time.monotonic()
    client.kill()
    expect_gone(mark, began)


def test_everything_attached_is_gone_when_sshds_session_is_killed(node: Node, mark: str) -> None:
    with Links() as links:
        channel = links.channel(node)
        process = channel.start(all_escapes(mark))
        started(mark, at_least=2 * len(ESCAPES))
        session = int(channel.start("ps -o ppid= -p $PPID").wait(10).stdout)
        assert "sshd" in Path(f"/proc/{session}/comm").read_text()
        began = time.monotonic()
        os.kill(session, signal.SIGKILL)
        expect_gone(mark, began)
        with pytest.raises(ConnectionLost):
            process.wait(5)


def test_everything_attached_is_gone_when_the_agent_is_told_to_end(node: Node, mark: str) -> None:
    with Links() as links:
        channel = links.channel(node)
        channel.start(all_escapes(mark))
        started(mark, at_least=2 * len(ESCAPES))
        agent = int(channel.start("echo $PPID").wait(10).stdout)
        began = time.monotonic()
        os.kill(agent, signal.SIGTERM)
        expect_gone(mark, began)


def test_ending_a_channel_with_nothing_left_behind_takes_no_time(node: Node) -> None:
    with Links() as links:
        channel = links.channel(node)
        agent = int(channel.start("echo $PPID").wait(10).stdout)
    eventually(lambda: not Path(f"/proc/{agent}").exists(), within_s=GONE_WITHIN_S)


# --- one process of several ----------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in ESCAPES if name not in UNMARKED])
def test_stop_ends_the_tree_and_nothing_else(channel: Channel, mark: str, name: str) -> None:
    other = channel.start("sleep 300")
    process = channel.start(escape(name, mark))
    started(mark)
    process.stop(grace_s=0.3)
    assert not living(mark)
    assert process.wait(5).signal is not None or process.wait(5).status is not None
    assert not other.is_over


def test_stop_ends_what_was_being_forked_when_it_came(channel: Channel, folder: Path) -> None:
    process = channel.start(
        "for i in $(seq 1000); do sleep 300 & [ $i = 50 ] && : > up; done; wait", stdout="/dev/null"
    )
    eventually((folder / "up").exists)
    began = time.monotonic()
    process.stop(grace_s=20)
    assert time.monotonic() - began < 10
    assert process.wait(5).signal == "SIGTERM"


def test_stop_returns_when_the_tree_is_gone_without_waiting_for_its_grace(channel: Channel) -> None:
    process = channel.start("sleep 300 & sleep 300")
    process.wait_started(10)
    began = time.monotonic()
    process.stop(grace_s=20)
    assert time.monotonic() - began < 5
    assert process.wait(5).signal == "SIGTERM"


def test_stop_gives_a_process_the_grace_to_end_by_itself(channel: Channel, folder: Path) -> None:
    process = channel.start(
        "trap 'sleep 0.3; echo bye; exit 9' TERM; touch up; while :; do sleep 0.05; done"
    )
    eventually((folder / "up").exists)
    process.stop(grace_s=10)
    outcome = process.wait(5)
    assert (outcome.status, outcome.stdout) == (9, b"bye\n")


def test_stop_kills_what_ignores_the_signal(channel: Channel, folder: Path) -> None:
    process = channel.start("trap '' TERM; touch up; sleep 300; sleep 300")
    eventually((folder / "up").exists)
    process.stop(grace_s=0.3)
    assert process.wait(5).signal == "SIGKILL"


def test_a_signal_reaches_the_whole_tree(channel: Channel, folder: Path) -> None:
    inner = "trap 'echo inner' USR1; touch inner; while :; do sleep 0.02; done"
    outer = f"trap 'echo outer' USR1; setsid bash -c \"{inner}\" & touch outer; wait; wait"
    said: list[bytes] = []
    process = channel.start(outer, on_stdout=said.append, stderr="/dev/null")
    eventually(lambda: (folder / "inner").exists() and (folder / "outer").exists())
    # sleep dies of it, since only shells have a trap; it is counted too.
    assert process.signal(signal.SIGUSR1) >= 2
    eventually(lambda: sorted(b"".join(said).split()) == [b"inner", b"outer"])
    process.stop(signal.SIGKILL)


def test_a_stopped_tree_can_be_stopped(channel: Channel, mark: str) -> None:
    process = channel.start(f"sleep 300 & sleep 300 # {mark}")
    process.wait_started(10)
    process.signal(signal.SIGSTOP)
    process.stop(grace_s=0.2)
    assert not living(mark)


def test_signalling_what_has_ended_reaches_nobody(channel: Channel) -> None:
    process = channel.start("true")
    process.wait(10)
    assert process.signal(signal.SIGTERM) == 0
    process.stop()


def test_a_killed_agent_leaves_what_the_mark_still_finds(
    links: Links, node: Node, mark: str
) -> None:
    """SIGKILL is the one end for which the agent can do nothing; the next agent ends its strays."""
    channel = links.channel(node)
    channel.start(f"sleep 300; : {mark}", env={"CLOISTER_TRIAL": mark})
    started(mark, at_least=1)
    os.kill(int(channel.start("echo $PPID").wait(10).stdout), signal.SIGKILL)
    eventually(lambda: not channel.is_open)
    links.channel(node).call("end_processes", marks=[f"CLOISTER_TRIAL={mark}"])
    assert not living(mark)
