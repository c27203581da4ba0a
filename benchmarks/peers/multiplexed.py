"""OpenSSH's own way to keep connections: the options that peers give to `ssh`."""

from __future__ import annotations

import subprocess

from peers.protocol import Bed

_PERSIST_S = 300


def ssh_options(bed: Bed, *, keep: bool) -> list[str]:
    options = ["-F", str(bed.ssh_config)]
    if keep:
        options += ["-o", "ControlMaster=auto", "-o", f"ControlPersist={_PERSIST_S}"]
        options += ["-o", f"ControlPath={bed.scratch}/%h"]
    return options


def close_masters(bed: Bed) -> None:
    for address in bed.addresses:
        if (bed.scratch / address).exists():
            subprocess.run(
                ["ssh", *ssh_options(bed, keep=True), "-O", "exit", address],
                capture_output=True,
                check=False,
            )
