"""boto3's clients, made once for each simulated cloud: cloister makes new ones for each command, and for a
short one that takes longer than its calls."""

from __future__ import annotations

import os
import threading
from typing import Any

from cloister.providers.ec2.api import Aws

_make = Aws._client
_lock = threading.Lock()
_clients: dict[tuple[object, ...], Any] = {}


def client(self: Aws, service: str, region: str) -> Any:
    """In place of `Aws._client`: the same one as long as profile and environment are the same."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    key = (self._profile, service, region, *sorted(settings.items()))
    with _lock:
        if key not in _clients:
            _clients[key] = _make(self, service, region)
        return _clients[key]


def disconnect() -> None:
    """They can be used again afterwards."""
    for one in _clients.values():
        one.close()


def forget() -> None:
    disconnect()
    _clients.clear()
