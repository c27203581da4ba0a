"""Every API call, in memory and in a file of one JSON document per line."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from pathlib import Path
from typing import Any

from cloud.incoming import Incoming


@dataclasses.dataclass(kw_only=True)
class Entry:
    """`fate` is "answered", "lost", "killed before" or "killed after"; `error` a code or ""; `pid` of a caller
    that was killed.

    granted: what of the caller's policy permitted it, if it has one.
    """

    number: int
    time_s: float
    service: str
    action: str
    region: str
    parameters: dict[str, Any]
    pid: int | None = None
    error: str = ""
    fate: str = "answered"
    granted: list[str] = dataclasses.field(default_factory=list)


class Journal:
    def __init__(self, file: Path) -> None:
        # Held open, and each line is there at once.
        self._file = file.open("a", buffering=1)
        self._lock = threading.Lock()
        self._entries: list[Entry] = []

    def begin(self, call: Incoming) -> Entry:
        with self._lock:
            entry = Entry(
                number=len(self._entries) + 1,
                time_s=time.time(),
                service=call.service,
                action=call.action,
                region=call.region,
                parameters=call.of_note(),
            )
            self._entries.append(entry)
        return entry

    def finish(self, entry: Entry) -> None:
        with self._lock:
            self._file.write(json.dumps(vars(entry)) + "\n")

    def entries(self) -> list[dict[str, Any]]:
        with self._lock:
            return [dict(vars(entry)) for entry in self._entries]
