"""The simulated cloud as a process: `python server.py --folder DIR [--port N] [--settings FILE]`.

It writes its port to DIR/port when it is ready, and ends on SIGTERM together with all its nodes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

if __name__ == "__main__":
    # As a script its folder would be first, with names in it that the standard library has too.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from cloud import guest
from cloud.dispatch import Application
from cloud.power import Power
from cloud.settings import Settings, changed
from cloud.web import Server
from cloud.world import World

HOST = "127.0.0.1"
# How soon the server notices that it is to end.
POLL_S = 0.05


def main() -> None:
    arguments = _arguments()
    folder: Path = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    serve(
        folder,
        port=arguments.port,
        settings=arguments.settings,
        while_stdin_open=arguments.while_stdin_open,
    )


def serve(
    folder: Path, *, port: int = 0, settings: Path | None = None, while_stdin_open: bool = False
) -> NoReturn:
    """Until SIGTERM, with all that is in the folder; then this process ends."""
    _allow_many_files()
    given = json.loads(settings.read_text()) if settings else {}
    world = World(changed(Settings(), given), folder)
    server = _prepared(world, folder, port)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _stop(server))
    if while_stdin_open:
        threading.Thread(target=_stop_with_stdin, args=(server,), daemon=True).start()
    _announce(folder, server.port)
    server.serve_forever(poll_interval=POLL_S)
    world.nodes.stop()
    # Not by sys.exit: threads of calls that wait for something must not keep the server.
    os._exit(0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--settings", type=Path)
    parser.add_argument(
        "--while-stdin-open", action="store_true", help="end when standard input ends"
    )
    return parser.parse_args()


def _allow_many_files() -> None:
    """A thousand instances without sshds are a thousand ports of this process."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _prepared(world: World, folder: Path, port: int) -> Server:
    world.nodes.start()
    application = Application(world, folder)
    power = Power(world.nodes.power, lambda *said: guest.heard(world, *said))
    application.listen_to(power)
    power.start()
    world.agenda.start()
    return Server(HOST, application, port)


def _announce(folder: Path, port: int) -> None:
    """In one step: who waits for the file never reads half of it."""
    draft = folder / "port.new"
    draft.write_text(f"{port}\n")
    draft.rename(folder / "port")


def _stop(server: Server) -> None:
    # `shutdown` waits for `serve_forever`, which this thread may be in.
    threading.Thread(target=server.shutdown).start()


def _stop_with_stdin(server: Server) -> None:
    os.read(0, 1)
    _stop(server)


if __name__ == "__main__":
    main()
