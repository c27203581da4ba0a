"""The agent itself, over a pair of pipes instead of an SSH session."""

from __future__ import annotations

import json
import marshal
import os
import select
import struct
import subprocess
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from cloister.transport import bundle

HEADER = struct.Struct(">IBI")
WITHIN_S = 20.0

Frame = tuple[str, int, bytes]


class AgentOnPipes:
    """`python`: what runs it.  As with a node, its folder is the working folder of `started_as`."""

    def __init__(
        self,
        *,
        command: Sequence[str] = (),
        first_message: bytes | None = None,
        same_python: bool = True,
        **started_as: Any,
    ) -> None:
        self.child = subprocess.Popen(
            list(command) or ["sh", "-c", bundle.start_command()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **started_as,
        )
        self.buffer = bytearray()
        self.numbers = iter(range(1, 1 << 30))
        self.same_python = same_python
        self.loaded: set[str] = set()
        self.write(bundle.first_message() if first_message is None else first_message)

    def __enter__(self) -> AgentOnPipes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self.child.stdin and self.child.stdout and self.child.stderr
        self.child.stdin.close()
        try:
            self.child.wait(WITHIN_S)
        finally:
            self.child.kill()
            self.child.wait()
            self.child.stdout.close()
            self.child.stderr.close()

    def write(self, data: bytes) -> None:
        assert self.child.stdin
        self.child.stdin.write(data)
        self.child.stdin.flush()

    def read(self) -> bytes:
        """What has come; empty at the end. Never waits for ever."""
        assert self.child.stdout
        ready, _, _ = select.select([self.child.stdout], [], [], WITHIN_S)
        assert ready, "the agent says nothing"
        return os.read(self.child.stdout.fileno(), 1 << 20)

    def greet(self, folder: str = ".") -> None:
        """Past the greeting; afterwards frames flow."""
        while b"\0" not in self.buffer.partition(bundle.HELLO)[2][:-1]:
            data = self.read()
            assert data, self.complaint()
            self.buffer += data
        wants_source = self.buffer.endswith(b"S")
        assert wants_source is not self.same_python
        self.buffer.clear()
        if wants_source:
            self.write(bundle.core_source())
        self.call("configure", env={}, silence_s=0.0, folder=folder)

    def complaint(self) -> str:
        assert self.child.stderr
        return self.child.stderr.read().decode(errors="replace")

    def frame(self) -> Frame | None:
        """The next frame; None at the end."""
        while True:
            if len(self.buffer) >= HEADER.size:
                length, kind, identity = HEADER.unpack_from(self.buffer)
                if len(self.buffer) >= HEADER.size + length:
                    payload = bytes(self.buffer[HEADER.size : HEADER.size + length])
                    del self.buffer[: HEADER.size + length]
                    return chr(kind), identity, payload
            data = self.read()
            if not data:
                return None
            self.buffer += data

    def until(self, wanted: Callable[[Frame], bool]) -> list[Frame]:
        """All frames up to the one that is wanted."""
        frames = []
        ends_at = time.monotonic() + WITHIN_S
        while time.monotonic() < ends_at:
            frame = self.frame()
            assert frame is not None, self.complaint()
            frames.append(frame)
            if wanted(frame):
                return frames
        raise AssertionError(f"not seen among {len(frames)} frames")

    def call_frame(self, identity: int, operation: str, **arguments: Any) -> bytes:
        return self.load(operation) + frame("c", identity, marshal.dumps((operation, arguments), 2))

    def load(self, operation: str) -> bytes:
        module = bundle.MODULE_OF.get(operation)
        if module is None or module in self.loaded:
            return b""
        self.loaded.add(module)
        return frame("l", 0, bundle.load_message(module, self.same_python))

    def call(self, operation: str, **arguments: Any) -> Any:
        """The reply; RuntimeError with the agent's words if it is an error."""
        identity = next(self.numbers)
        self.write(self.call_frame(identity, operation, **arguments))
        return self.reply(identity)

    def reply(self, identity: int) -> Any:
        kind, _, payload = self.until(lambda frame: frame[0] in "re" and frame[1] == identity)[-1]
        if kind == "e":
            raise RuntimeError(json.loads(payload)["message"])
        return json.loads(payload)


def frame(kind: str, identity: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(len(payload), ord(kind), identity) + payload
