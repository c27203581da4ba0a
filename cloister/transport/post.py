"""The post: one thread that reads what all agents say, so that no node needs a thread of its own."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloister.transport.channel import Channel

PING_EVERY_S = 5.0


class _Bell:
    """What a paramiko channel rings when it has data; it stands in for a threading.Event."""

    def __init__(self, post: Post, channel: Channel) -> None:
        self._post = post
        self._channel = channel
        self._rung = False

    def set(self) -> None:
        # Called under the channel's lock at every packet: only the first one until we look counts.
        if not self._rung:
            self._rung = True
            self._post.ring(self)

    def clear(self) -> None:
        """paramiko clears it after each read; we clear it before, so that no packet is missed."""

    def is_set(self) -> bool:
        return self._rung

    def answer(self) -> None:
        self._rung = False
        self._channel.receive()


class Post:
    """Delivers frames to their channels, and keeps silent channels alive with pings."""

    def __init__(self) -> None:
        self._rung: queue.SimpleQueue[_Bell | None] = queue.SimpleQueue()
        self._channels: set[Channel] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, channel: Channel, ssh_channel: Any) -> None:
        with self._lock:
            self._channels.add(channel)
            if self._thread is None:
                self._thread = threading.Thread(target=self._deliver, name="post", daemon=True)
                self._thread.start()
        ssh_channel.in_buffer.set_event(_Bell(self, channel))

    def remove(self, channel: Channel) -> None:
        with self._lock:
            self._channels.discard(channel)

    def ring(self, bell: _Bell) -> None:
        self._rung.put(bell)

    def close(self) -> None:
        self._rung.put(None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5.0)

    def _deliver(self) -> None:
        next_ping = time.monotonic() + PING_EVERY_S
        while True:
            try:
                bell = self._rung.get(timeout=max(0.0, next_ping - time.monotonic()))
                if bell is None:
                    return
                bell.answer()
            except queue.Empty:
                pass
            if time.monotonic() >= next_ping:
                next_ping = time.monotonic() + PING_EVERY_S
                for channel in list(self._channels):
                    channel.keep_alive()
