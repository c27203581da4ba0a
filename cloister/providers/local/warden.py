"""The init process of each local node: starts its sshd and stays the parent of all that runs there.

Run as `python -I -S warden.py CLUSTER_FOLDER UID` with a JSON list of {name, folder, log, arguments}
on standard input, it becomes one process per node, each a *child subreaper*: what a process on the
node leaves behind, a double-forked daemon for instance, becomes a child of the warden instead of the
machine's init, so that it stays provably the node's. A warden waits, at no cost, until nothing is
left of its node, and ends. Its working folder is the node's.

For each sshd that ends, a line of JSON {name, status} goes to standard output while somebody reads it,
and {name, problem} for a node that could not be started at all.
Standard library alone: it runs isolated, and must stay small, because there is one for each node.
"""

import ctypes
import json
import os
import sys

_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    jobs = json.loads(sys.stdin.buffer.read())
    for job in jobs:
        if os.fork() == 0:
            reports = os.dup(1)
            try:
                _guard(job, reports)
            except OSError as error:
                _tell(reports, {"name": job["name"], "problem": str(error)})
            finally:
                os._exit(0)


def _guard(job: dict, reports: int) -> None:
    os.setsid()
    os.chdir(job["folder"])
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("this kernel has no child subreapers")
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDWR)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    arguments = job["arguments"]
    sshd = os.posix_spawn(arguments[0], arguments, dict(os.environ))
    _wait_for_all(job["name"], sshd, reports)


def _wait_for_all(name: str, sshd: int, reports: int) -> None:
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return
        if pid == sshd:
            _tell(reports, {"name": name, "status": status})


def _tell(reports: int, what: dict) -> None:
    try:
        os.write(reports, json.dumps(what).encode() + b"\n")
    except OSError:
        pass  # The launching command has what it wanted, and is gone.


if __name__ == "__main__":
    main()
