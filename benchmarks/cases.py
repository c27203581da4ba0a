"""The five cases: what is measured, and the check that every node really did it."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from meter import Meter, Sample
from peers.protocol import Bed, Node, Peer

TITLES = {
    "a": "one command from cold, connecting included",
    "b1": "connections opened to stay, and the first command through them",
    "b2": "20 commands one after another over them, each a program",
    "b3": "20 commands one after another over them, each a text for the shell",
    "c1": "10 MB in 500 files to every node",
    "c2": "the same again, one file changed",
    "d": "1 MB from every node",
    "e": "10,000 lines from every node",
}
COMMANDS = 20
LINES = 10_000
FILES, FOLDERS, FILE_BYTES = 500, 20, 20_000
DATA_BYTES = 1_000_000
NAME_FILE, DATA_FILE, TREE = "node-name", "data.bin", "tree"
ANSWER_FILE = "answer-%d"
_LINE = "line %05.0f of what this node has to say about itself"

Home = Callable[[Node], Path]


class Wrong(Exception):
    """A peer was done and the result was not what it should be."""


def prepare_home(home: Path, node: Node) -> None:
    home.mkdir(exist_ok=True)
    (home / NAME_FILE).write_text(node.name + "\n")
    for number in range(COMMANDS):
        (home / (ANSWER_FILE % number)).write_text(_answer(number, node) + "\n")
    (home / DATA_FILE).write_bytes(random.Random(node.name).randbytes(DATA_BYTES))


def make_tree(folder: Path) -> None:
    generator = random.Random(1)
    for number in range(FILES):
        file = folder / f"folder-{number % FOLDERS}" / f"file-{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(generator.randbytes(FILE_BYTES))


def _answer(number: int, node: Node) -> str:
    return f"command {number} of {node.name}"


def _program(number: int) -> str:
    return f"cat {ANSWER_FILE % number}"


def _shell_text(number: int) -> str:
    # `echo` is the shell's own, so that it is a shell and a program that run.
    return f"echo command {number} of; cat {NAME_FILE}"


def cold_command(peer: Peer, bed: Bed, meter: Meter, home: Home) -> list[Sample]:
    meter.start()
    peer.connect(bed, keep=False)
    outputs = peer.run([_shell_text(0)])
    sample = meter.stop("a")
    _check_outputs(bed, outputs)
    return [sample]


def warm_commands(peer: Peer, bed: Bed, meter: Meter, home: Home) -> list[Sample]:
    # With the first command, since some peers do nothing, or not all, before it.
    meter.start()
    peer.connect(bed, keep=True)
    outputs = peer.run([_program(0)])
    samples = [meter.stop("b1")]
    _check_outputs(bed, outputs)
    for case, command in (("b2", _program), ("b3", _shell_text)):
        meter.start()
        outputs = peer.run([command(number) for number in range(COMMANDS)])
        samples.append(meter.stop(case))
        _check_outputs(bed, outputs)
    return samples


def _check_outputs(bed: Bed, outputs: Sequence[Mapping[str, str]]) -> None:
    for number, output in enumerate(outputs):
        for node in bed.nodes:
            said = output.get(node.address, "nothing").split()
            if said != _answer(number, node).split():
                raise Wrong(f"{node.name} answered {said[:8]} to command {number}")


def copy_folder(peer: Peer, bed: Bed, meter: Meter, home: Home) -> list[Sample]:
    source = bed.scratch / TREE
    make_tree(source)
    peer.connect(bed, keep=True)
    meter.start()
    peer.copy(source)
    samples = [meter.stop("c1")]
    _check_copies(bed, source, home)
    (source / "folder-0" / "file-0").write_bytes(random.Random(2).randbytes(FILE_BYTES))
    meter.start()
    peer.copy(source)
    samples.append(meter.stop("c2"))
    _check_copies(bed, source, home)
    return samples


def _check_copies(bed: Bed, source: Path, home: Home) -> None:
    wanted = _digests(source)
    for node in bed.nodes:
        if _digests(home(node) / TREE) != wanted:
            raise Wrong(f"the copy on {node.name} differs")


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def collect_files(peer: Peer, bed: Bed, meter: Meter, home: Home) -> list[Sample]:
    folder = bed.scratch / "collected"
    folder.mkdir()
    peer.connect(bed, keep=True)
    meter.start()
    peer.collect(DATA_FILE, folder)
    sample = meter.stop("d")
    for node in bed.nodes:
        if (folder / node.address).read_bytes() != (home(node) / DATA_FILE).read_bytes():
            raise Wrong(f"the file of {node.name} differs")
    return [sample]


def stream_lines(peer: Peer, bed: Bed, meter: Meter, home: Home) -> list[Sample]:
    taken: dict[str, list[str | bytes]] = defaultdict(list)
    peer.connect(bed, keep=True)
    meter.start()
    peer.stream(
        f"cat {NAME_FILE}; seq -f '{_LINE}' {LINES}", lambda a, lines: taken[a].extend(lines)
    )
    sample = meter.stop("e")
    numbered = [_LINE % number for number in range(1, LINES + 1)]
    for node in bed.nodes:
        lines = [line.decode() if isinstance(line, bytes) else line for line in taken[node.address]]
        if lines != [node.name, *numbered]:
            raise Wrong(f"{len(lines)} lines came from {node.name}, or others than it sent")
    return [sample]


CASES: dict[str, Callable[[Peer, Bed, Meter, Home], list[Sample]]] = {
    "a": cold_command,
    "b": warm_commands,
    "c": copy_folder,
    "d": collect_files,
    "e": stream_lines,
}
