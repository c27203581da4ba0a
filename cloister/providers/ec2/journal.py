"""Intents: every call that makes something is on disk, synced, before it is made."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloister.durable import sync_folder
from cloister.providers.ec2 import api

FILE = "journal.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Intent:
    """A call with its whole request; it repeats as it is, or not at all. `time` in Unix seconds."""

    number: int
    time: float
    region: str
    action: str
    request: Mapping[str, Any]


class Journal:
    """One line per intent and one per outcome. A last line that a crash cut off was never acted on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._intents: dict[int, Intent] = {}
        self._open: set[int] = set()
        self._done: list[tuple[str, str]] = []
        # Refused, or seen since.
        self._certain: set[int] = set()
        self._whole = True
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
            self._whole = line.endswith(b"\n")
            self._read(line)

    @property
    def recent_intents(self) -> tuple[Intent, ...]:
        """Those that AWS has not refused, and so young that what they made may not have been seen yet."""
        since = time.time() - api.VISIBLE_WITHIN_S
        return tuple(
            intent
            for number, intent in self._intents.items()
            if intent.time > since and number not in self._certain
        )

    @property
    def open_intents(self) -> tuple[Intent, ...]:
        """Those of which no outcome is known, oldest first."""
        return tuple(self._intents[number] for number in sorted(self._open))

    @property
    def done(self) -> str:
        """What has been made since this was opened, for a person; empty if nothing was."""
        calls = Counter(action for action, _ in self._done)
        ids = [word for _, outcome in self._done for word in outcome.split() if word[:2] == "i-"]
        texts = [
            api.camel(action) + (f" ({count} times)" if count > 1 else "")
            for action, count in calls.items()
        ]
        return ", ".join(texts) + (
            f": {len(ids)} instance{'s' if len(ids) > 1 else ''}" if ids else ""
        )

    def intend(self, region: str, action: str, request: Mapping[str, Any]) -> Intent:
        """Durable when it returns."""
        with self._lock:
            number = max(self._intents, default=0) + 1
            intent = Intent(
                number=number,
                time=round(time.time(), 3),
                region=region,
                action=action,
                request=request,
            )
            entry = {"intent": number, "region": region, "action": action, "request": request}
            self._write({"time": intent.time, **entry})
            self._intents[number] = intent
            self._open.add(number)
            return intent

    def settle(
        self,
        intent: Intent,
        outcome: str,
        *,
        refused: bool = False,
        seen: bool = False,
        synced: bool = False,
    ) -> None:
        """What became of it. Mostly not synced, where asking again gives the same answer.

        seen: AWS has shown what it made, so if it is not shown any more, it is gone.
        """
        with self._lock:
            entry = {
                "settled": intent.number,
                "outcome": outcome,
                "refused": refused,
                "seen": seen,
            }
            self._write(entry, synced=synced)
            self._settled(entry)
            # Others are settled only because they are looked at in another way.
            if outcome == "made" or outcome.startswith("i-"):
                self._done.append((intent.action, outcome))

    def _write(self, entry: Mapping[str, Any], *, synced: bool = True) -> None:
        text = json.dumps({"time": round(time.time(), 3), **entry}) + "\n"
        new = not self._path.exists()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            # After a cut line, on a line of its own.
            os.write(descriptor, (text if self._whole else "\n" + text).encode())
            self._whole = True
            if synced:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            sync_folder(self._path.parent)

    def _read(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
        except ValueError:
            return
        if "intent" in entry:
            number = int(entry["intent"])
            self._intents[number] = Intent(
                number=number,
                time=float(entry["time"]),
                region=entry["region"],
                action=entry["action"],
                request=entry["request"],
            )
            self._open.add(number)
        elif "settled" in entry:
            self._settled(entry)

    def _settled(self, entry: Mapping[str, Any]) -> None:
        number = int(entry["settled"])
        self._open.discard(number)
        if entry.get("refused") or entry.get("seen"):
            self._certain.add(number)
