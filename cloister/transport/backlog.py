"""How much may be on its way to an agent that has not read it yet.

OpenSSH lets a client send 2 MiB ahead and keeps what the agent has not read in one buffer, which it
copies whole with every packet of 32 KiB. Measured with OpenSSH 9.2 and 100 nodes on two cores that were
sent 10 MB each: 110 to 170 ms of CPU per node in sshd; 35 with 1 MiB ahead, 20 with 512 KiB, no less below.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

AHEAD_BYTES = 1 << 19
# On a longer path less on its way would mean less speed: 512 KiB in 20 ms are 26 MB/s.
SHORT_PATH_S = 0.020

# Of Linux's struct tcp_info: the shortest round trip seen, in microseconds.
_MIN_RTT = struct.Struct("@I")
_MIN_RTT_AT = 148


def limit(channel: Any) -> None:
    """Let a paramiko channel whose command was just started send only so much ahead, if its node is near.

    Not earlier: sshd opens a session with an empty window, and gives the whole when the command starts.
    """
    trip_s = shortest_round_trip_s(channel.get_transport().sock)
    if trip_s is not None and trip_s <= SHORT_PATH_S:
        # The node gives back what was read, so the window never grows beyond this again.
        channel.out_window_size = min(channel.out_window_size, AHEAD_BYTES)


def shortest_round_trip_s(connection: Any) -> float | None:
    """None where it is not known: through a gateway, or without Linux."""
    if not isinstance(connection, socket.socket) or not hasattr(socket, "TCP_INFO"):
        return None
    try:
        info = connection.getsockopt(
            socket.IPPROTO_TCP, socket.TCP_INFO, _MIN_RTT_AT + _MIN_RTT.size
        )
    except OSError:
        return None
    if len(info) < _MIN_RTT_AT + _MIN_RTT.size:
        return None
    return float(_MIN_RTT.unpack_from(info, _MIN_RTT_AT)[0]) / 1e6
