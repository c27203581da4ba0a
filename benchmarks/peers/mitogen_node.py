"""What mitogen runs on the nodes; it sends this module's source there."""

import subprocess


def output(command):
    return subprocess.check_output(command, shell=True).decode()


def content(path):
    with open(path, "rb") as file:  # noqa: PTH123 - mitogen would have to send pathlib along
        return file.read()
