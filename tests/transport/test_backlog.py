from __future__ import annotations

import socket

import pytest

from cloister.transport import backlog
from cloister.transport.channel import Channel


def window(channel: Channel) -> int:
    return int(channel._ssh.out_window_size)


def test_a_near_node_is_sent_only_so_much_ahead(channel: Channel) -> None:
    assert 0 < window(channel) <= backlog.AHEAD_BYTES
    channel.start("cat > copy", stdin=b"x" * (4 * backlog.AHEAD_BYTES)).wait(30)
    assert 0 < window(channel) <= backlog.AHEAD_BYTES
    assert int(channel.start("wc -c < copy").wait(10).stdout) == 4 * backlog.AHEAD_BYTES


@pytest.mark.parametrize("trip_s", [0.5, None])
def test_a_far_node_and_one_of_unknown_distance_keep_what_sshd_gave(
    channel: Channel, monkeypatch: pytest.MonkeyPatch, trip_s: float | None
) -> None:
    monkeypatch.setattr(backlog, "shortest_round_trip_s", lambda connection: trip_s)
    before = channel._ssh.out_window_size = 10 * backlog.AHEAD_BYTES
    backlog.limit(channel._ssh)
    assert window(channel) == before


def test_the_round_trip_of_a_tcp_connection_is_what_the_kernel_measured() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0] as accepted,
    ):
        client.sendall(b"x")
        assert accepted.recv(1) == b"x"
        trip_s = backlog.shortest_round_trip_s(client)
    assert trip_s is not None
    assert 0 < trip_s < backlog.SHORT_PATH_S


def test_the_round_trip_of_anything_else_is_not_known() -> None:
    here, there = socket.socketpair()
    with here, there:
        assert backlog.shortest_round_trip_s(here) is None
    assert backlog.shortest_round_trip_s(object()) is None
