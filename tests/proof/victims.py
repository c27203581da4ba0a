"""A process that starts victims: forks of itself that work on a cluster and kill themselves.

Reads orders as JSON lines on standard input, answers each with a JSON line: how the victim ended and how
many moments it had. A moment is a change of a file below the state folder; the victim kills itself just
before the one with the number that the order names.

Forking saves loading everything for each victim. What has to be there before a victim's work is done by this
process itself; that saves each victim also what boto3 works out at the first call of each kind, a third of
its time.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabric
import paramiko

from cloister.cluster.images import bake, prune
from cloister.cluster.lifecycle import destroy, launch
from cloister.cluster.provided import provider_of
from cloister.config.spec import ClusterSpec
from cloister.deploy.bringing_up import bring_up
from cloister.deploy.leases import extend
from cloister.plan import launching
from cloister.providers.ec2 import api, provider
from cloister.providers.provider import Swapping
from cloister.transport import connection

if __name__ == "__main__":
    # As in pytest, which has the folder of all tests there.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import shared_clients

_CHANGES = frozenset(("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "shutil.rmtree"))
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

REGIONS = ["us-east-1", "eu-west-1"]
LONGER_S = 8 * 3600


def _bring_up(spec: ClusterSpec, state: Path) -> None:
    def say(text: object) -> None:
        pass

    bring_up(spec, state=state, servers=state / "servers", wait_s=10, report=say, say=say)


def _attach_swap(spec: ClusterSpec, state: Path) -> None:
    """Without the nodes' part, which makes nothing that could be left."""
    swapping = provider_of(spec.name, state, spec)
    assert isinstance(swapping, Swapping)
    swaps = swapping.attach_swap(spec.name, lambda text: None)
    assert not swaps.errors, swaps.errors


COMMANDS: dict[str, Callable[[ClusterSpec, Path], object]] = {
    "launch": lambda spec, state: launch(spec, state=state),
    # With a specification that names another region.
    "move": lambda spec, state: launch(spec, state=state),
    "destroy": lambda spec, state: destroy(spec.name, state=state, spec=spec),
    "bring up": _bring_up,
    "attach swap": _attach_swap,
    "extend": lambda spec, state: extend(spec.name, LONGER_S, state=state, spec=spec),
    "bake": lambda spec, state: bake(spec, state=state),
    "prune": lambda spec, state: prune(spec, state=state, keep=0),
}


class Moments:
    """Counts the changes of files below a folder, and ends this process before the `fatal` one."""

    def __init__(self, folder: str, fatal: int) -> None:
        self._folder, self._fatal = folder, fatal
        self.seen = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            changes = isinstance(arguments[2], int) and bool(arguments[2] & _WRITING)
        else:
            changes = event in _CHANGES
        if not changes or not str(arguments[0]).startswith(self._folder):
            return
        self.seen += 1
        if self.seen == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)


def victim(order: dict[str, Any], answer: int) -> None:
    state = Path(order["state"])
    moments = Moments(str(state), order.get("fatal", 0))
    sys.addaudithook(moments)
    spec = ClusterSpec.model_validate(order["spec"])
    COMMANDS[order["command"]](spec, state)
    os.write(answer, str(moments.seen).encode())


def run(order: dict[str, Any]) -> dict[str, Any]:
    here, there = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            victim(order, there)
            status = 0
        except Exception as error:  # noqa: BLE001 - told to the test
            os.write(there, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(status)
    os.close(there)
    _, status = os.waitpid(pid, 0)
    said = b"".join(iter(lambda: os.read(here, 4096), b"")).decode()
    os.close(here)
    return {"status": os.waitstatus_to_exitcode(status), "said": said}


def make_clients() -> None:
    """Of an endpoint. Making them takes half of a victim's time; forks make connections of their own."""
    shared_clients.forget()
    for service, region in itertools.product(
        ("ec2", "scheduler", "ssm", "pricing", "sts"), REGIONS
    ):
        shared_clients.client(api.Aws(), service, region)


def prepare(order: dict[str, Any]) -> dict[str, Any]:
    spec = ClusterSpec.model_validate(order["spec"])
    try:
        COMMANDS[order["command"]](spec, Path(order["state"]))
    except Exception as error:  # noqa: BLE001 - told to the test
        return {"status": 1, "said": f"{type(error).__name__}: {error}"}
    shared_clients.disconnect()
    # Of threads a fork would have nothing but the locks that they hold.
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(10)
    assert threading.active_count() == 1, threading.enumerate()
    gc.freeze()
    return {"status": 0, "said": ""}


def main() -> None:
    # Far above the simulation's delays, and far below AWS's, which nobody could wait for so often.
    api.VISIBLE_WITHIN_S = 1.5
    # What a victim would load, once.
    assert provider and connection and paramiko and fabric and launching
    api.Aws._client = shared_clients.client  # type: ignore[method-assign]
    endpoint = ""
    for line in sys.stdin:
        order = json.loads(line)
        os.environ.update(order["env"])
        if endpoint != (endpoint := os.environ["AWS_ENDPOINT_URL"]):
            make_clients()
        answer = run(order) if order["fork"] else prepare(order)
        print(json.dumps({"number": order["number"], **answer}), flush=True)


if __name__ == "__main__":
    main()
