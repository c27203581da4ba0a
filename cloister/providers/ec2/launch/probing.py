"""Asking many nodes at once whether an SSH server answers, in one thread and without a login."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import heapq
import itertools
import os
import resource
import selectors
import socket
import time
from collections.abc import Callable, Iterator

# Each node so often, and all together no more often than this: a probe takes 0.1 ms of CPU.
_PAUSE_S = 0.25
_PROBES_PER_S = 1000
# A machine without a network yet drops what asks for a connection, and the kernel repeats that later and later.
_CONNECT_S = 1.0
_GREETING_S = 3.0
_AT_ONCE_MAX = 1000
_GREETING = b"SSH-"


@dataclasses.dataclass(kw_only=True)
class _Door:
    """`attempt` tells the moments of one attempt from those of earlier ones."""

    key: str
    place: tuple[str, int]
    attempt: int = 0
    connection: socket.socket | None = None
    connected: bool = False
    heard: bytes = b""


class Probes:
    """Nodes by keys of the caller's. Until `ends_at` each is tried again and again."""

    def __init__(self, *, ends_at: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ends_at, self._clock = ends_at, clock
        self._doors: dict[str, _Door] = {}
        self._moments: list[tuple[float, int, str, int]] = []
        self._numbers = itertools.count()
        self._selector = selectors.DefaultSelector()
        self._at_once = _AT_ONCE_MAX
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if files != resource.RLIM_INFINITY:
            # Half of what this process may have open.
            self._at_once = min(_AT_ONCE_MAX, files // 2)
        self._busy = 0

    def __contains__(self, key: str) -> bool:
        return key in self._doors

    def add(self, key: str, address: str, port: int) -> None:
        self._doors[key] = _Door(key=key, place=(address, port))
        self._later(self._doors[key], 0.0)

    def drop(self, key: str) -> None:
        """Whoever is not there is no error."""
        if door := self._doors.pop(key, None):
            self._hang_up(door)

    def close(self) -> None:
        for key in list(self._doors):
            self.drop(key)
        self._selector.close()

    def answers(self, until: float) -> Iterator[tuple[str, str]]:
        """Key and an empty text of each that greets, or why it never did, as it turns out; until then."""
        while True:
            for door in self._due():
                why = self._next(door)
                if why is not None:
                    yield door.key, why
            now = self._clock()
            if now >= until:
                return
            next_at = min(until, self._moments[0][0]) if self._moments else until
            for found, _ in self._selector.select(max(0.0, next_at - now)):
                door = found.data
                why = self._heard(door)
                if why is not None:
                    yield door.key, why

    def _due(self) -> Iterator[_Door]:
        while self._moments and self._moments[0][0] <= self._clock():
            _, _, key, attempt = heapq.heappop(self._moments)
            door = self._doors.get(key)
            if door is not None and door.attempt == attempt:
                yield door

    def _later(self, door: _Door, seconds: float) -> None:
        """Its next moment: to begin an attempt, or the time limit of the one that is under way."""
        door.attempt += 1
        moment = (self._clock() + seconds, next(self._numbers), door.key, door.attempt)
        heapq.heappush(self._moments, moment)

    def _next(self, door: _Door) -> str | None:
        if door.connection is not None:
            return self._failed(door, os.strerror(errno.ETIMEDOUT))
        if self._busy >= self._at_once:
            self._later(door, _PAUSE_S)
            return None
        door.connection = socket.socket()
        self._busy += 1
        door.connected, door.heard = False, b""
        door.connection.setblocking(False)
        code = door.connection.connect_ex(door.place)
        if code not in (0, errno.EINPROGRESS):
            return self._failed(door, os.strerror(code))
        self._selector.register(door.connection, selectors.EVENT_WRITE, door)
        self._later(door, _CONNECT_S)
        return None

    def _heard(self, door: _Door) -> str | None:
        """What its connection says: none while nothing is decided, empty when it greets."""
        if door.connection is None:
            return None
        try:
            if not door.connected:
                code = door.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    return self._failed(door, os.strerror(code))
                door.connected = True
                self._selector.modify(door.connection, selectors.EVENT_READ, door)
                self._later(door, _GREETING_S)
                return None
            more = door.connection.recv(len(_GREETING) - len(door.heard))
        except OSError as error:
            return self._failed(door, error.strerror or str(error))
        door.heard += more
        if door.heard == _GREETING:
            self.drop(door.key)
            return ""
        if more and _GREETING.startswith(door.heard):
            return None
        return self._failed(door, "something else answers" if door.heard else "it hangs up")

    def _failed(self, door: _Door, why: str) -> str | None:
        """Again later, or what was the matter when the time is over."""
        self._hang_up(door)
        if self._clock() > self._ends_at:
            self.drop(door.key)
            return f"no SSH server answers: {why}"
        self._later(door, max(_PAUSE_S, len(self._doors) / _PROBES_PER_S))
        return None

    def _hang_up(self, door: _Door) -> None:
        if door.connection is None:
            return
        with contextlib.suppress(KeyError):
            self._selector.unregister(door.connection)
        door.connection.close()
        door.connection = None
        self._busy -= 1
