"""The sshd of a local node: where the program is, what it needs from this machine, its configuration."""

from __future__ import annotations

import dataclasses
import os
import pwd
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from cloister.errors import ProviderError
from cloister.plan.observed import Node
from cloister.providers.local.folders import ClusterFolder, NodeFolder

_SBIN = "/usr/sbin:/usr/local/sbin:/sbin"
_SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/lib/ssh/sftp-server",
)
# sshd refuses to start as root without this folder (its chroot before authentication); Debian makes
# it when the service starts, which on a fresh machine may never have happened.
_PRIVILEGE_SEPARATION = Path("/run/sshd")
_NO_SHELLS = ("nologin", "false")
# https://www.openssh.com/txt/release-9.8
_PENALTIES_SINCE = (9, 8)
_VERSION = re.compile(r"OpenSSH_(\d+)\.(\d+)")
_VERSION_LIMIT_S = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """What this machine offers to its local nodes."""

    sshd: str
    sftp_server: str
    user: str
    root: bool
    use_pam: bool
    version: tuple[int, int]


def this_machine() -> Machine:
    """ProviderError when sshd is missing or this user could not log in to it."""
    if not Path("/proc/self/stat").exists():
        raise ProviderError(
            "launching local nodes: this machine has no /proc, by which they are found again",
            hint="local nodes need Linux",
        )
    account = _account()
    sshd = _sshd()
    if Path(account.pw_shell).name in _NO_SHELLS:
        raise ProviderError(
            f"launching local nodes: the user {account.pw_name} has no login shell "
            f"({account.pw_shell}), so sshd would refuse every login",
            hint="run cloister as a user with a shell",
        )
    return Machine(
        sshd=sshd,
        sftp_server=next((path for path in _SFTP_SERVERS if Path(path).exists()), ""),
        user=account.pw_name,
        root=os.geteuid() == 0,
        use_pam=_is_locked(account.pw_name),
        version=_version(sshd),
    )


def prepare(machine: Machine) -> None:
    if machine.root:
        _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)


def sshd_config(machine: Machine, cluster: ClusterFolder, node: Node, uid: str) -> str:
    folder = cluster.node(node.name)
    lines = [
        f"ListenAddress {node.address}:{node.port}",
        f"HostKey {_quoted(folder.host_key)}",
        f"PidFile {_quoted(folder.pid)}",
        # The folder is 0700 and so only its owner writes to it; StrictModes would look at the
        # parents too and refuse any state folder below a sticky one such as /tmp.
        "StrictModes no",
        # Also the node's own, which `copy-id-rsa` writes.
        f"AuthorizedKeysFile {_quoted(cluster.authorized_keys, percent='%%')}"
        f" {_quoted(folder.home / '.ssh' / 'authorized_keys', percent='%%')}",
        "PubkeyAuthentication yes",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        f"UsePAM {'yes' if machine.use_pam else 'no'}",
        "UseDNS no",
        "PrintMotd no",
        "PrintLastLog no",
        "X11Forwarding no",
        "LogLevel INFO",
        # Hundreds of connections at once are normal here; sshd's defaults are 10:30:100 and 10.
        "MaxStartups 1000",
        "MaxSessions 200",
        # An SSH agent offers all its keys before the cluster's.
        "MaxAuthTries 20",
        f"SetEnv {_environment(folder, node, uid)}",
        f"ForceCommand exec /bin/sh {shlex.quote(str(cluster.session))}",
    ]
    if machine.version >= _PENALTIES_SINCE:
        # All clients of a local node are this machine: one that fails would lock out all others.
        lines.append("PerSourcePenalties no")
    if machine.sftp_server:
        lines.append(f"Subsystem sftp {machine.sftp_server}")
    return "\n".join(lines) + "\n"


def sshd_arguments(machine: Machine, folder: NodeFolder) -> list[str]:
    """-D: stay in the foreground, as a child of the warden; -e: its log is standard error, a file."""
    return [machine.sshd, "-D", "-e", "-f", str(folder.config)]


def _sshd() -> str:
    # An ordinary user's PATH often lacks sbin; sshd wants to be started by its absolute path.
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:{_SBIN}")
    if found is None:
        raise ProviderError(
            "launching local nodes: this machine has no sshd",
            hint="install the package openssh-server (apt-get install openssh-server)",
        )
    return str(Path(found).absolute())


def _account() -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(os.geteuid())
    except KeyError:
        raise ProviderError(
            f"launching local nodes: the user id {os.geteuid()} has no name in the list of users, "
            "so sshd would refuse every login",
            hint="run cloister as a user that /etc/passwd knows",
        ) from None


def _version(sshd: str) -> tuple[int, int]:
    """(0, 0) if it does not say. Before 9.3, -V is an error that prints the version all the same."""
    try:
        answer = subprocess.run(
            [sshd, "-V"], capture_output=True, text=True, timeout=_VERSION_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0, 0
    found = _VERSION.search(answer.stderr + answer.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _is_locked(user: str) -> bool:
    """Without PAM, sshd itself refuses accounts whose password field in /etc/shadow begins with '!'."""
    try:
        lines = Path("/etc/shadow").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        # An ordinary user's sshd cannot read it either, and so does not mind.
        return False
    return any(line.startswith(f"{user}:!") for line in lines)


def _environment(folder: NodeFolder, node: Node, uid: str) -> str:
    variables = {
        "HOME": str(folder.home),
        "CLOISTER_CLUSTER": uid,
        "CLOISTER_NODE": node.name,
        # bash reads .bashrc when sshd runs it at level 1. The shell that only starts session.sh is
        # not to read it; session.sh unsets this, so that the session's own shell does.
        "SHLVL": "1",
    }
    return " ".join(_quoted(f"{key}={value}") for key, value in variables.items())


def _quoted(value: object, *, percent: str = "%") -> str:
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("%", percent)
    return f'"{text}"'
