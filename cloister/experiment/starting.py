"""What is started, and in which order."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Mapping, Sequence

from cloister.errors import NodeError, Refused
from cloister.experiment.placement import Instance


def levels(instances: Sequence[Instance]) -> list[set[str]]:
    """Process names in groups that start together: each after all that its members wait for."""
    after: Mapping[str, tuple[str, ...]] = {i.process: i.after for i in instances}
    depth: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in depth:
            # A process without instances at this point holds nobody up.
            depth[name] = 1 + max(
                (of(other) for other in after[name] if other in after), default=-1
            )
        return depth[name]

    groups: list[set[str]] = []
    for name in after:
        while len(groups) <= of(name):
            groups.append(set())
        groups[of(name)].add(name)
    return groups


def is_users_fault(error: NodeError) -> bool:
    """Whether what the operating system refused is the configuration's fault: no such program or folder."""
    wrong = {errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ENOEXEC, errno.E2BIG}
    return isinstance(error, Refused) and error.number in wrong


def command_of(instance: Instance) -> str | Sequence[str]:
    """What to start: the command, behind its environment file if it has one."""
    if instance.env_file is None:
        return instance.command
    # Sourced if it is there, as benchmarks without one are common.
    source = f"if [ -f {_sourced(instance.env_file)} ]; then . {_sourced(instance.env_file)}; fi; "
    if isinstance(instance.command, str):
        return source + instance.command
    return source + "exec " + shlex.join(instance.command)


def _sourced(path: str) -> str:
    """One word of a shell command; `~/` stays for the shell to expand."""
    if path.startswith("~/"):
        return "~/" + shlex.quote(path.removeprefix("~/"))
    # `.` looks for a bare name on the PATH.
    return shlex.quote(path if "/" in path else f"./{path}")
