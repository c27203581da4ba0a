"""The nodes behind the instances: an sshd each, on its own address, with its own home and host key."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import pwd
import queue
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from cloud import processes
from cloud.addresses import Addresses

PROGRAMS = (
    "shutdown",
    "poweroff",
    "halt",
    "reboot",
    "systemctl",
    "cloud-init",
    "swapon",
    "sudo",
)
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "/usr/sbin/sshd"
_HERE = Path(__file__).resolve().parent
_SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server")

# LogLevel VERBOSE names each connection: a failed login of a test is explained by the node's log.
_SSHD_CONFIG = """\
ListenAddress {address}:{port}
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorized_keys {folder}/home/.ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
LogLevel VERBOSE
MaxStartups 1000
MaxSessions 200
MaxAuthTries 20
SetEnv {variables}
Subsystem sftp {sftp}
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """`image` is the folder whose content a new home has, if there is one."""

    name: str
    address: str
    port: int
    authorized_key: str
    user_data: bytes
    image: Path | None
    refused: int


class Nodes:
    """Work on processes is done by one thread in the order in which it was asked for, because it takes
    longer than an API call may."""

    def __init__(self, folder: Path) -> None:
        self.server = f"cloud-{secrets.token_hex(4)}"
        self.power = folder / "power"
        self.addresses = Addresses()
        self._folder = folder / "nodes"
        self._images = folder / "images"
        self._programs = folder / "bin"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._watcher: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        for folder in (self._folder, self._images, self._programs):
            folder.mkdir(parents=True, exist_ok=True)
        self._write_programs()
        if os.geteuid() == 0:
            # sshd refuses to start without the folder of its unprivileged child.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.addresses.claim()
        threading.Thread(target=self._work, name="nodes", daemon=True).start()

    def stop(self) -> None:
        """The watcher ends everything when its pipe closes."""
        if self._watcher is not None and self._watcher.stdin is not None:
            self._watcher.stdin.close()
            self._watcher.wait()

    def folder(self, name: str) -> Path:
        return self._folder / name

    def plug(self, name: str, volume: str, size: int) -> None:
        """What a node that has a /dev/disk of its own sees of a volume that is attached later."""
        folder = self.folder(name) / "disk" / "by-id"
        if folder.exists():
            with (folder / f"nvme-Amazon_Elastic_Block_Store_{volume.replace('-', '')}").open(
                "wb"
            ) as disk:
                disk.truncate(size)

    def boot(self, node: Node) -> None:
        self._jobs.put(lambda: self._boot(node))

    def open(self, node: Node) -> None:
        """Have its sshd start, after the connections that are to be refused."""
        self._jobs.put(lambda: self._open(node))

    def end(self, names: list[str], *, remove: bool, then: Callable[[], None]) -> None:
        """All processes of these nodes; with `remove` their files too."""
        self._jobs.put(lambda: self._end(names, remove, then))

    def save(self, name: str, image: str) -> None:
        """Keep the node's home as the content of an image."""
        self._jobs.put(lambda: self._save(name, image))

    def saved(self, image: str) -> Path | None:
        folder = self._images / image
        return folder if folder.exists() else None

    def sshd(self, name: str) -> int | None:
        """The process that listens, if the node has got so far."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.folder(name) / "sshd.pid").read_text())
            if _path_of(self.folder(name)) in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return None

    def host_key(self, name: str) -> str:
        """The public one, as a line of a file of keys."""
        public = _host_key(name).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return f"{public.decode()} root@{name}"

    def signal(self, name: str, number: int, *, all_processes: bool) -> list[int]:
        if all_processes and number == PAUSE:
            return sorted(processes.stop(self._belongs(name)))
        pids = [pid for pid in [self.sshd(name)] if pid is not None]
        if all_processes:
            pids = sorted(processes.found([self._belongs(name)]))
        processes.signal_all(pids, number)
        return pids

    def _belongs(self, name: str) -> processes.Belongs:
        return processes.of_node(f"{self.server}/{name}", self.folder(name))

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                job()
            except Exception:  # noqa: BLE001
                # One node that cannot start is not the end of the others.
                traceback.print_exc()

    def _boot(self, node: Node) -> None:
        self._watch()
        folder = self.folder(node.name)
        if not folder.exists():
            self._prepare(node)
        root = os.geteuid() == 0
        home = pwd.getpwuid(os.geteuid()).pw_dir if root else str(folder / "home")
        enter = ["unshare", "-m"] if root else []
        how = "namespace" if root else "plain"
        with (folder / "node.log").open("ab") as log:
            self._running[node.name] = subprocess.Popen(
                [*enter, "/bin/sh", _HERE / "boot.sh", folder, how, self._programs, SSHD],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**self._variables(node.name), "HOME": home, "CLOUD_HOME": home},
                start_new_session=True,
            )

    def _prepare(self, node: Node) -> None:
        folder = self.folder(node.name)
        if node.image is None:
            (folder / "home").mkdir(parents=True)
        else:
            shutil.copytree(node.image, folder / "home", symlinks=True)
        (folder / "disk" / "by-id").mkdir(parents=True)
        self._write_start_files(folder / "home")
        _write_host_key(folder, node.name)
        (folder / "authorized_keys").write_text(f"{node.authorized_key}\n")
        if node.user_data.startswith(b"#!"):
            (folder / "user-data").write_bytes(node.user_data)
            (folder / "user-data").chmod(0o755)
        sftp = next((path for path in _SFTP_SERVERS if Path(path).exists()), "internal-sftp")
        (folder / "sshd_config").write_text(
            _SSHD_CONFIG.format(
                address=node.address,
                port=node.port,
                folder=folder,
                variables=self._sshd_variables(node.name),
                sftp=sftp if os.geteuid() == 0 else f"{sftp} -d {folder}/home",
            )
        )

    def _sshd_variables(self, name: str) -> str:
        variables = self._variables(name)
        if os.geteuid() != 0:
            variables["HOME"] = str(self.folder(name) / "home")
        return " ".join(f'"{key}={value}"' for key, value in variables.items())

    def _variables(self, name: str) -> dict[str, str]:
        return {
            processes.MARK: f"{self.server}/{name}",
            "CLOUD_FOLDER": str(self.folder(name)),
            "PATH": f"{self._programs}:{SYSTEM_PATH}",
        }

    def _write_start_files(self, home: Path) -> None:
        # Login shells get another PATH from /etc/profile, and read this after it.
        (home / ".profile").write_text(f'PATH="{self._programs}:$PATH"\n')
        if os.geteuid() != 0:
            # Without a namespace sessions begin in the user's real home.
            (home / ".bashrc").write_text('[ "$SHLVL" != 1 ] || cd "$HOME"\n')

    def _write_programs(self) -> None:
        self.power.unlink(missing_ok=True)
        os.mkfifo(self.power)
        text = (_HERE / "guest.sh").read_text().replace("@power@", str(self.power))
        for name in PROGRAMS:
            (self._programs / name).write_text(text)
            (self._programs / name).chmod(0o755)

    def _open(self, node: Node) -> None:
        process = self._running.get(node.name)
        if process is None:
            return
        if node.refused:
            # In a thread of its own: how long it takes is up to those who connect.
            threading.Thread(target=_refuse, args=(node, process), daemon=True).start()
        else:
            _release(process)

    def _end(self, names: list[str], remove: bool, then: Callable[[], None]) -> None:
        existing = [name for name in names if self.folder(name).exists()]
        if existing:
            processes.end([self._belongs(name) for name in existing])
        for name in existing:
            if process := self._running.pop(name, None):
                process.wait()
                if process.stdin is not None:
                    with contextlib.suppress(OSError):
                        process.stdin.close()
            if remove:
                shutil.rmtree(self.folder(name), ignore_errors=True)
        then()

    def _save(self, name: str, image: str) -> None:
        if (home := self.folder(name) / "home").exists():
            shutil.copytree(home, self._images / image, symlinks=True)

    def _watch(self) -> None:
        """Started with the first node: tests of the API alone need none."""
        if self._watcher is None:
            self._watcher = subprocess.Popen(
                [sys.executable, _HERE / "watcher.py", self.server, self._folder],
                stdin=subprocess.PIPE,
                pass_fds=[claim.fileno() for claim in self.addresses.claims],
                start_new_session=True,
            )


def _release(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.write(b"\n")
        process.stdin.close()


def _refuse(node: Node, process: subprocess.Popen[bytes]) -> None:
    """Reset the first connections, and then let the sshd have the port."""
    with socket.socket() as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((node.address, node.port))
        door.listen()
        for _ in range(node.refused):
            connection, _ = door.accept()
            # Zero seconds to linger: a reset instead of an orderly end.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
    _release(process)


def _write_host_key(folder: Path, name: str) -> None:
    private = _host_key(name).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    (folder / "host_key").touch(mode=0o600)
    (folder / "host_key").write_bytes(private)


def _host_key(name: str) -> Ed25519PrivateKey:
    """Made from the name, which is random, so that instances without a node have one too."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def _path_of(folder: Path) -> bytes:
    return f"{folder}/".encode()


PAUSE, RESUME = signal.SIGSTOP, signal.SIGCONT
