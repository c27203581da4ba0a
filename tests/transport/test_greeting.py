from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest

from cloister.errors import ConnectionLost, NodeError, NoPython
from cloister.plan.observed import Node
from cloister.transport import bundle
from cloister.transport.channel import Channel
from cloister.transport.links import Links


def home_of(node: Node) -> Path:
    with Links() as links:
        return Path(links.channel(node).home)


def test_a_noisy_login_shell_does_not_disturb_the_frames(own_node: Node) -> None:
    home = home_of(own_node)
    (home / ".bashrc").write_text(
        "echo Welcome, welcome\nprintf '\\001\\002%s' cloister-agent\necho to stderr >&2\n"
    )
    with Links() as links:
        channel = links.channel(own_node)
        assert channel.start("echo hello; echo $0 >&2").wait(10).stdout == b"hello\n"
        # The login shell has read its start-up file; what it starts does not read it again.
        assert links.run([own_node], "bash -c true").values[own_node.name].stderr == b""


def test_a_login_shell_that_says_much_is_waited_for(own_node: Node) -> None:
    (home_of(own_node) / ".bashrc").write_text("head -c 3000000 /dev/zero | tr '\\0' x\n")
    with Links() as links:
        assert links.run([own_node], "echo hello").values[own_node.name].stdout == b"hello\n"


def test_a_login_shell_that_ends_is_quoted_in_the_error(own_node: Node) -> None:
    (home_of(own_node) / ".bashrc").write_text("echo this account is closed; exit 1\n")
    with Links() as links, pytest.raises(ConnectionLost, match="this account is closed"):
        links.channel(own_node)


def test_the_environment_of_the_login_shell_reaches_processes(own_node: Node) -> None:
    (home_of(own_node) / ".bashrc").write_text("export FROM_BASHRC=yes\n")
    with Links(marks={"CLOISTER_CLUSTER": "c1"}) as links:
        outcome = links.run([own_node], "env").values[own_node.name]
    lines = outcome.stdout.splitlines()
    assert b"FROM_BASHRC=yes" in lines
    assert b"CLOISTER_CLUSTER=c1" in lines
    assert f"CLOISTER_NODE={own_node.name}".encode() in lines


class WithoutCandidates(Channel):
    """Sees a node on which none of the places for Python has one."""

    def start_command(self) -> str:
        return bundle.start_command(candidates=("/nowhere/python3", "no-such-python3"))


def test_a_node_without_python_says_so_every_time(links: Links, node: Node) -> None:
    # Again and again, because the exit status may arrive before or after the end of the output.
    for _ in range(20):
        channel = WithoutCandidates(node, links.connection(node), links._post)
        with pytest.raises(NoPython, match="no python3 found") as raised:
            channel.open({})
        assert "install Python" in raised.value.hint
        channel.close()


def test_a_node_whose_python_is_broken_says_what_it_said(links: Links, node: Node) -> None:
    class Broken(Channel):
        def start_command(self) -> str:
            return bundle.start_command(candidates=("/bin/false",))

    channel = Broken(node, links.connection(node), links._post)
    with pytest.raises(ConnectionLost, match="the agent ended"):
        channel.open({})
    channel.close()


def test_a_work_folder_that_cannot_be_made_is_named(links: Links, node: Node) -> None:
    nowhere = dataclasses.replace(node, work_folder="/proc/nowhere")
    with pytest.raises(NodeError, match="/proc/nowhere"):
        links.channel(nowhere)


def test_a_login_shell_that_never_ends_its_start_up_is_given_up(
    own_node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home_of(own_node) / ".bashrc").write_text("echo thinking; sleep 300\n")
    monkeypatch.setattr("cloister.transport.channel.START_WITHIN_S", 1.0)
    began = time.monotonic()
    with Links() as links, pytest.raises(ConnectionLost, match=r"within 1 s.*thinking"):
        links.channel(own_node)
    assert time.monotonic() - began < 5.0


class _Gone:
    """As paramiko's channel when the other side goes away while it writes."""

    closed = True

    def sendall(self, data: bytes) -> None:
        raise EOFError

    def close(self) -> None:
        raise EOFError


def test_a_node_that_goes_away_while_it_is_written_to_is_a_lost_connection(
    own_node: Node,
) -> None:
    """An EOFError that got out would look like the end of the user's input."""
    with Links() as links:
        channel = Channel(own_node, None, links._post)
        channel._ssh = _Gone()
        with pytest.raises(ConnectionLost, match="sending failed: the connection ended"):
            channel.call("facts")
        channel.close()
