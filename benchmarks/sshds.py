"""Local OpenSSH nodes: one plain sshd each, on its own address, with its own home folder.

Each sshd is started in a mount namespace in which the user's home is a folder of the node, so that
every tool sees what it would see on a machine of its own: the same paths, different files, no
`.bashrc`. The sessions themselves run under nothing but sshd. This needs root.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from peers.protocol import Node
from processes import tree_of

STARTS_WITHIN_S = 20.0
ENDS_WITHIN_S = 10.0
NODES_MAX = 250 * 250
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"

# Every client makes the same key exchange: the newest one of OpenSSH costs its client 50 ms of CPU per
# connection, libraries do not offer it, and it would drown everything else that is measured here.
_SSHD_CONFIG = """\
ListenAddress {address}:{port}
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {root}/client_key.pub
KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
LogLevel ERROR
MaxStartups 1000
MaxSessions 1000
Subsystem sftp {sftp}
"""

_SSH_CONFIG = """\
Host 127.90.*
  User {user}
  Port {port}
  IdentityFile {root}/client_key
  IdentitiesOnly yes
  UserKnownHostsFile {root}/known_hosts
  StrictHostKeyChecking yes
  LogLevel ERROR
"""


class Sshds:
    def __init__(self, root: Path, count: int) -> None:
        if not 1 <= count <= NODES_MAX:
            raise ValueError(f"between 1 and {NODES_MAX} nodes, not {count}")
        self.root = root
        self.ssh_config = root / "ssh_config"
        self.known_hosts = root / "known_hosts"
        self._sshds: dict[str, subprocess.Popen[bytes]] = {}
        self._count = count

    @property
    def pids(self) -> list[int]:
        return [sshd.pid for sshd in self._sshds.values()]

    def home(self, node: Node) -> Path:
        """The node's home as this machine sees it."""
        return self.root / node.name / "home"

    def start(self) -> None:
        self.root.mkdir(parents=True)
        make_key(self.root / "client_key")
        self.port = free_port()
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.nodes = tuple(self._prepare(number) for number in range(self._count))
        self.ssh_config.write_text(
            _SSH_CONFIG.format(user=self.user, port=self.port, root=self.root)
        )
        self.known_hosts.write_text(
            "".join(f"[{n.address}]:{n.port} {n.host_key}\n" for n in self.nodes)
        )
        for node in self.nodes:
            self._sshds[node.name] = self._launch(node)
        for node in self.nodes:
            self._await(node)

    def _prepare(self, number: int) -> Node:
        name, address = f"n{number + 1:03}", f"127.90.{number // 250}.{number % 250 + 1}"
        folder = self.root / name
        (folder / "home").mkdir(parents=True)
        make_key(folder / "host_key")
        sftp = "/usr/lib/openssh/sftp-server"
        (folder / "sshd_config").write_text(
            _SSHD_CONFIG.format(
                address=address, port=self.port, folder=folder, root=self.root, sftp=sftp
            )
        )
        kind, key, *_ = (folder / "host_key.pub").read_text().split()
        return Node(
            name=name,
            address=address,
            port=self.port,
            user=self.user,
            key_file=str(self.root / "client_key"),
            host_key=f"{kind} {key}",
        )

    def _launch(self, node: Node) -> subprocess.Popen[bytes]:
        folder = self.root / node.name
        # sshd refuses to start without the folder of its unprivileged child.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        # The namespace is entered by exec alone, so the pid stays that of the sshd.
        script = 'mount --bind "$1" "$2" && exec "$3" -D -e -f "$4"'
        home = pwd.getpwuid(os.getuid()).pw_dir
        with (folder / "log").open("wb") as log:
            return subprocess.Popen(
                [
                    *("unshare", "-m", "sh", "-c", script, "sh"),
                    *(folder / "home", home, SSHD, folder / "sshd_config"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )

    def _await(self, node: Node) -> None:
        end = time.monotonic() + STARTS_WITHIN_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection((node.address, node.port)):
                return
            status = self._sshds[node.name].poll()
            if status is not None or time.monotonic() > end:
                log = (self.root / node.name / "log").read_text()
                raise RuntimeError(f"the sshd of {node.name} did not start: {log.strip()}")
            time.sleep(0.02)

    def end_sessions(self) -> None:
        """Wait until every node is idle; whatever a measurement left there is ended."""
        end = time.monotonic() + ENDS_WITHIN_S
        while left := [pid for pid in tree_of(self.pids) if pid not in self.pids]:
            if time.monotonic() > end:
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                end += ENDS_WITHIN_S
            time.sleep(0.05)

    def stop(self) -> None:
        """Each by its pid; the folder goes too."""
        left = tree_of(self.pids)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for sshd in self._sshds.values():
            try:
                sshd.wait(timeout=ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                sshd.kill()
                sshd.wait()
        shutil.rmtree(self.root, ignore_errors=True)


@contextlib.contextmanager
def running(root: Path, count: int) -> Iterator[Sshds]:
    nodes = Sshds(root, count)
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.stop()


def make_key(path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "benchmark", "-f", path], check=True
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.90.0.1", 0))
        return int(probe.getsockname()[1])
