"""A client of its own, for tests that kill it: `client.py NODE.json`, then lines `channel|once|detach|sync HEX`.

It answers each line with "ready" when the command says so, and never ends by itself.
"""

import json
import signal
import sys
import threading
from pathlib import Path

from cloister.providers.nodes import node_from_json
from cloister.transport.links import Links
from cloister.transport.manifest import manifest
from cloister.transport.oneshot import run_once
from cloister.transport.sync import sync


def main() -> None:
    node = node_from_json(json.loads(Path(sys.argv[1]).read_text()))
    assert node is not None
    links = Links()
    for line in sys.stdin:
        how, text = line.split()
        command = bytes.fromhex(text).decode()
        if how == "channel":
            links.channel(node).start(command, on_stdout=forward)
        elif how == "detach":
            links.channel(node).call("detach", name="lasting", command=command)
            forward(b"ready\n")
        elif how == "sync":
            forward(b"%d\n" % int(links.channel(node).start("echo $PPID").wait(10).stdout))
            sync(links, [node], manifest(Path(command)), "target")
        else:
            arguments = (links, [node], command)
            on_output = {"on_output": lambda node, stream, data: forward(data)}
            threading.Thread(target=run_once, args=arguments, kwargs=on_output).start()
    signal.pause()


def forward(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


main()
