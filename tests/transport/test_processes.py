from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from eventually import eventually
from living import living, resident_bytes

from cloister.errors import ConnectionLost, NodeError, Refused
from cloister.plan.observed import Node
from cloister.transport.channel import Channel
from cloister.transport.links import Links

MB = 1 << 20


# --- output --------------------------------------------------------------------------------------


def test_every_byte_comes_through_as_it_is(channel: Channel) -> None:
    everything = bytes(range(256)) * 100
    outcome = channel.start(["cat"], stdin=everything).wait(20)
    assert outcome.ok
    assert outcome.stdout == everything
    assert (
        channel.start(["tee", "/dev/stderr"], stdin=b"\xff\x80\n").wait(20).stderr == b"\xff\x80\n"
    )


def test_a_line_of_five_megabytes_arrives_whole(channel: Channel) -> None:
    outcome = channel.start("head -c 5000000 /dev/zero | tr '\\0' x; echo; echo after").wait(30)
    assert outcome.stdout == b"x" * 5_000_000 + b"\nafter\n"


def test_a_million_lines_arrive_in_order(channel: Channel) -> None:
    digest, size = hashlib.sha256(), [0]

    def sink(data: bytes) -> None:
        digest.update(data)
        size[0] += len(data)

    assert channel.start("seq 1000000", on_stdout=sink).wait(60).ok
    expected = b"".join(b"%d\n" % number for number in range(1, 1_000_001))
    assert (size[0], digest.digest()) == (len(expected), hashlib.sha256(expected).digest())


def test_standard_output_and_error_are_told_apart(channel: Channel) -> None:
    outcome = channel.start("echo out; echo err >&2; exit 4").wait(20)
    assert (outcome.status, outcome.stdout, outcome.stderr) == (4, b"out\n", b"err\n")


def test_output_can_go_to_files_on_the_node(channel: Channel, folder: Path) -> None:
    command = "echo out; echo err >&2"
    assert channel.start(command, stdout="logs/o", stderr="logs/e").wait(20).stdout == b""
    assert ((folder / "logs/o").read_bytes(), (folder / "logs/e").read_bytes()) == (
        b"out\n",
        b"err\n",
    )
    assert channel.start(command, stdout="both", stderr="stdout").wait(20).ok
    assert (folder / "both").read_bytes() == b"out\nerr\n"


def test_two_processes_do_not_mix_their_output(channel: Channel) -> None:
    commands = [channel.start(f"for i in $(seq 300); do echo {name}; done") for name in "abcdef"]
    for name, process in zip("abcdef", commands, strict=True):
        assert process.wait(30).stdout == f"{name}\n".encode() * 300


def test_a_slow_reader_holds_the_process_back_and_not_the_memory(channel: Channel) -> None:
    """Neither the agent nor this side collects what is not read: the process blocks, as in a pipe."""
    agent = channel.call("configure", env={}, silence_s=120.0, folder=channel.folder)["pid"]
    before = resident_bytes(agent)
    reading, most = threading.Event(), [0]

    def sink(data: bytes) -> None:
        reading.wait(30)
        most[0] = max(most[0], len(channel._incoming))

    process = channel.start("head -c 150000000 /dev/zero; echo done >&2", on_stdout=sink)
    stalled = [0, 0]

    def is_stalled() -> bool:
        stalled[:] = [stalled[1], resident_bytes(agent)]
        source = living("head -c 150000000")
        waits = any("pipe_write" in wchan(pid) for pid in source)
        return waits and stalled[0] == stalled[1]

    eventually(is_stalled, what="the process waits for its reader")
    grown = resident_bytes(agent) - before
    reading.set()
    outcome = process.wait(60)
    assert outcome.stderr == b"done\n"
    assert grown < 32 * MB
    assert most[0] < 32 * MB


def wchan(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return ""


def test_a_straggler_that_writes_without_end_does_not_hold_the_others(channel: Channel) -> None:
    assert channel.start("yes & exit 3", on_stdout=lambda data: None).wait(20).status == 3
    assert channel.start("echo hello").wait(20).stdout == b"hello\n"


# --- input ---------------------------------------------------------------------------------------


def test_fifty_megabytes_go_through_cat(channel: Channel) -> None:
    piece = os.urandom(MB)
    digest = hashlib.sha256()
    process = channel.start(["cat"], stdin=True, on_stdout=digest.update)
    for _ in range(50):
        process.write(piece)
    process.close_stdin()
    assert process.wait(60).ok
    assert digest.digest() == hashlib.sha256(piece * 50).digest()


def test_input_larger_than_a_frame_is_sent_in_several(channel: Channel) -> None:
    content = os.urandom(MB) * 66
    counted = channel.start(["wc", "-c"], stdin=content).wait(60)
    assert counted.stdout.split() == [str(len(content)).encode()]


def test_input_is_empty_unless_given(channel: Channel) -> None:
    assert channel.start(["cat"]).wait(20).stdout == b""


def test_a_process_that_closes_its_input_early_drops_the_rest(channel: Channel) -> None:
    process = channel.start("head -c 5; exec <&-; sleep 0.2; exit 7", stdin=True)
    for _ in range(20):
        process.write(b"x" * MB)
    process.close_stdin()
    outcome = process.wait(30)
    assert (outcome.status, outcome.stdout) == (7, b"xxxxx")
    assert channel.start("echo on").wait(20).stdout == b"on\n"


def test_a_conversation_goes_back_and_forth(channel: Channel) -> None:
    said: list[bytes] = []
    process = channel.start("while read x; do echo got $x; done", stdin=True, on_stdout=said.append)
    for number in range(3):
        process.write(b"%d\n" % number)
        answer = b"got %d\n" % number
        eventually(lambda answer=answer: b"".join(said).endswith(answer), what="an answer")
    process.close_stdin()
    assert process.wait(20).ok


# --- ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 1, 2, 126, 127, 129, 137, 255])
def test_exit_statuses_are_told_as_they_are(channel: Channel, status: int) -> None:
    outcome = channel.start(f"exit {status}").wait(20)
    assert (outcome.status, outcome.signal) == (status, None)
    assert outcome.ok is (status == 0)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGSEGV", "SIGHUP", "SIGPIPE", "SIGINT"])
def test_signals_are_told_by_name(channel: Channel, name: str) -> None:
    outcome = channel.start(f"kill -{int(signal.Signals[name])} $$").wait(20)
    assert (outcome.status, outcome.signal, outcome.ok) == (None, name, False)


def test_the_outcome_has_times_and_memory(channel: Channel) -> None:
    outcome = channel.start(
        ["python3", "-c", "x = b'x' * 100_000_000; sum(range(3_000_000))"]
    ).wait(60)
    assert outcome.max_rss_bytes > 100_000_000
    assert outcome.user_s > 0.01
    assert outcome.ended_at > outcome.started_at


def test_a_missing_program_is_an_error_of_the_node(channel: Channel) -> None:
    process = channel.start(["no-such-program", "x"])
    with pytest.raises(Refused, match="no-such-program") as raised:
        process.wait_started(20)
    assert raised.value.number == 2
    outcome = channel.start("no-such-program x").wait(20)
    assert outcome.status == 127
    assert b"no-such-program" in outcome.stderr


def test_a_missing_folder_is_an_error_of_the_node(channel: Channel) -> None:
    for command in ("true", "true; true", ["true"]):
        with pytest.raises(Refused, match="no-such-folder"):
            channel.start(command, folder="no-such-folder").wait(20)
    assert channel.start("pwd").wait(20).stdout.decode().strip() == channel.folder


def test_folders_are_below_the_work_folder_unless_absolute(channel: Channel, folder: Path) -> None:
    (folder / "a b").mkdir()
    assert channel.start("pwd", folder="a b").wait(20).stdout.decode().strip() == str(
        folder / "a b"
    )
    assert channel.start("pwd", folder="/").wait(20).stdout == b"/\n"


def test_a_process_has_the_marks_and_its_own_environment(links: Links, channel: Channel) -> None:
    lines = channel.start(["env"], env={"A": "1 \n 2", "LANG": "x"}).wait(20).stdout.decode()
    assert "\nA=1 \n 2\n" in "\n" + lines
    assert "\nLANG=x\n" in "\n" + lines
    assert f"CLOISTER_NODE={channel.node.name}\n" in lines
    assert "CLOISTER_PROCESS=" in lines
    assert "CLOISTER_CLUSTER=" in lines


def test_a_process_has_no_descriptors_but_its_three(channel: Channel) -> None:
    background = channel.start(["sleep", "30"], stdin=True)
    listed = channel.start(["ls", "/proc/self/fd"]).wait(20).stdout.split()
    assert listed == [b"0", b"1", b"2", b"3"], "3 is the folder that ls reads"
    background.stop(signal.SIGKILL)


def test_a_process_blocks_and_ignores_no_signal(channel: Channel) -> None:
    status = channel.start(["cat", "/proc/self/status"]).wait(20).stdout.decode()
    masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
    assert int(masks["SigBlk"], 16) == 0
    # The C library keeps 32 and 33 for itself.
    assert int(masks["SigIgn"], 16) & ~(0b11 << 31) == 0


# --- time-outs and `once` ------------------------------------------------------------------------


def test_a_time_out_ends_the_whole_tree(channel: Channel, mark: str) -> None:
    command = f"(trap '' TERM; sleep 300; : {mark}) & setsid sh -c 'sleep 300; : {mark}' & sleep 300; : {mark}"
    outcome = channel.start(command, timeout_s=0.5).wait(20)
    assert outcome.timed_out
    assert not outcome.ok
    assert str(outcome).startswith("timed out after")
    eventually(lambda: not living(mark), what="the tree is gone")


def test_a_process_that_ends_in_time_has_not_timed_out(channel: Channel) -> None:
    outcome = channel.start("exit 3", timeout_s=30).wait(20)
    assert (outcome.status, outcome.timed_out) == (3, False)


def test_what_a_once_process_leaves_behind_is_killed_when_it_ends(
    channel: Channel, mark: str
) -> None:
    script = f"sh -c 'sleep 300; : {mark}' & setsid sh -c 'sleep 300; : {mark}' & echo gone"
    assert channel.start(script, once=True).wait(20).stdout == b"gone\n"
    eventually(lambda: not living(mark), within_s=2, what="the stragglers are gone")


def test_what_forks_without_end_is_killed_when_a_once_process_ends(
    channel: Channel, mark: str
) -> None:
    forking = f"while :; do setsid sh -c 'sleep 300; : {mark}' & done"
    script = f"sh -c '{forking.replace(chr(39), chr(34))}' >/dev/null 2>&1 & sleep 0.05; echo gone"
    assert channel.start(script, once=True).wait(20).stdout == b"gone\n"
    eventually(lambda: not living(mark), within_s=2, what="the stragglers are gone")


def test_a_once_process_that_cannot_start_is_an_error(channel: Channel) -> None:
    with pytest.raises(Refused):
        channel.start(["no-such-program"], once=True).wait(20)


def test_an_ended_process_can_be_forgotten_with_its_stragglers(channel: Channel, mark: str) -> None:
    process = channel.start(f"sh -c 'sleep 300; : {mark}' >/dev/null 2>&1 & exit 0")
    assert process.wait(20).ok
    assert living(mark)
    process.forget()
    eventually(lambda: not living(mark), within_s=2, what="the straggler is gone")
    with pytest.raises(NodeError, match="no process"):
        process.signal(signal.SIGTERM)


# --- many nodes ----------------------------------------------------------------------------------


def test_links_run_the_command_on_every_node_and_report_each(
    links: Links, nodes: tuple[Node, ...]
) -> None:
    absent = dataclasses.replace(nodes[0], name="absent", port=1)
    result = links.run([*nodes, absent], "echo $CLOISTER_NODE; cat", stdin=b"in")
    assert {name: outcome.stdout.decode() for name, outcome in result.values.items()} == {
        node.name: f"{node.name}\nin" for node in nodes
    }
    assert list(result.errors) == ["absent"]


def test_links_hand_out_what_each_node_says(links: Links, nodes: tuple[Node, ...]) -> None:
    said: dict[tuple[str, str], bytes] = {}

    def take(node: Node, stream: str, data: bytes) -> None:
        said[node.name, stream] = said.get((node.name, stream), b"") + data

    links.run(nodes, "echo out; echo err >&2", on_output=take)
    assert said == {
        (node.name, stream): data
        for node in nodes
        for stream, data in (("stdout", b"out\n"), ("stderr", b"err\n"))
    }


def test_a_silent_process_does_not_lose_its_channel(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloister.transport.channel.LOST_AFTER_S", 1.0)
    monkeypatch.setattr("cloister.transport.post.PING_EVERY_S", 0.2)
    with Links() as links:
        assert links.channel(node).start("sleep 2.5").wait(20).ok


def test_an_agent_that_answers_no_more_is_given_up(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloister.transport.channel.LOST_AFTER_S", 1.0)
    monkeypatch.setattr("cloister.transport.post.PING_EVERY_S", 0.2)
    with Links() as links:
        channel = links.channel(node)
        process = channel.start("sleep 300")
        agent = int(channel.start("echo $PPID").wait(20).stdout)
        os.kill(agent, signal.SIGSTOP)
        try:
            with pytest.raises(ConnectionLost, match="no answer for 1 s"):
                process.wait(20)
        finally:
            os.kill(agent, signal.SIGCONT)


def test_a_channel_is_opened_anew_after_it_was_lost(links: Links, node: Node) -> None:
    channel = links.channel(node)
    os.kill(int(channel.start("echo $PPID").wait(20).stdout), signal.SIGKILL)
    eventually(lambda: not channel.is_open, what="the loss is noticed")
    assert links.run([node], "echo again").values[node.name].stdout == b"again\n"


def test_the_agent_is_found_by_no_file_on_the_node(channel: Channel, folder: Path) -> None:
    assert channel.start("echo hello").wait(20).ok
    assert list(folder.iterdir()) == []
    ports = subprocess.run(["ss", "-tlnp"], capture_output=True, text=True).stdout
    assert f"pid={channel.start('echo $PPID').wait(20).stdout.decode().strip()}," not in ports
