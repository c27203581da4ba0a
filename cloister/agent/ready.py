"""Waiting until a process is ready to be used: a port, a log line, a file, a URL or a command."""

import os
import time

# core is the agent's core module, put here by Agent.load.

PAUSE_FIRST_S = 0.002
PAUSE_MAX_S = 0.05
HTTP_ATTEMPT_S = 2.0
LINE_BYTES_MAX = 1 << 20


def until(agent, identity, process, kind, value, within_s, logs=(), address=""):
    """Reply with the seconds it took; fail with `not ready` after `within_s`, `ended` if the process ends first.

    logs: the files with its output.  address: the node's own, where a port may listen beside the wildcards.
    """
    entry = core.find_process(agent, process)
    began = time.monotonic()
    probe = PROBES[kind](agent, value, logs, address)
    pause = [PAUSE_FIRST_S]

    def look():
        after_s = time.monotonic() - began
        if probe():
            agent.reply(identity, after_s)
        elif entry.ended:
            agent.fail(identity, core.Failure("ended", "it ended before it was ready"))
        elif after_s > within_s:
            agent.fail(identity, core.Failure("not ready", "not ready within %g s" % within_s))
        else:
            pause[0] = min(pause[0] * 1.5, PAUSE_MAX_S)
            agent.after(pause[0], look)

    look()


def listens(agent, port, logs, address):
    # Read from the kernel's table: a probing connection would disturb a program that counts its peers.
    mine = {"", address}
    return lambda: any(where in mine for where in listening().get(int(port), ()))


def listening():
    """Port → set of addresses that listen there, wildcards as the empty text."""
    import socket

    found = {}
    for path, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        for line in core.read_file(path).decode("ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                address, port = fields[1].split(":")
                found.setdefault(int(port, 16), set()).add(_address(socket, family, address))
    return found


def _address(socket, family, digits):
    # 32-bit words in the machine's own byte order; cloister's nodes are little-endian or the words are 0.
    words = [bytes.fromhex(digits[i : i + 8])[::-1] for i in range(0, len(digits), 8)]
    packed = b"".join(words)
    if not any(packed):
        return ""
    if len(packed) == 16 and packed[:12] == b"\0" * 10 + b"\xff\xff":
        return _address(socket, socket.AF_INET, digits[24:])
    return socket.inet_ntop(family, packed)


def logged(agent, pattern, logs, address):
    import re

    sought = re.compile(pattern.encode("utf-8", "surrogateescape"))
    states = {path: [0, b""] for path in logs}

    def probe():
        return any(_scan(path, state, sought) for path, state in states.items())

    return probe


def _scan(path, state, sought):
    try:
        with open(path, "rb") as log:
            log.seek(state[0])
            while True:
                chunk = log.read(1 << 20)
                if not chunk:
                    # A prompt without a newline is a line too.
                    return bool(sought.search(state[1]))
                state[0] += len(chunk)
                lines = (state[1] + chunk).split(b"\n")
                state[1] = lines.pop()[-LINE_BYTES_MAX:]
                if any(sought.search(line) for line in lines):
                    return True
    except OSError:
        return False


def exists(agent, path, logs, address):
    return lambda: os.path.exists(path)


def by_child(agent, start):
    """Ready when a child that `start` gives the pid of has ended with 0; another is started after each
    failure. A child, because the agent must not block."""
    state = {"running": False, "ready": False}

    def finished(status):
        state["running"] = False
        state["ready"] = state["ready"] or status == 0

    def probe():
        if not state["running"] and not state["ready"]:
            agent.watchers[start()] = finished
            state["running"] = True
        return state["ready"]

    return probe


def answers(agent, url, logs, address):
    def start():
        pid = os.fork()
        if not pid:
            _ask(url)
        return pid

    return by_child(agent, start)


def _ask(url):
    status = 1
    try:
        import urllib.request

        with urllib.request.urlopen(url, timeout=HTTP_ATTEMPT_S) as answer:  # noqa: S310
            status = 0 if answer.status < 400 else 1
    except Exception:  # noqa: BLE001 - any failure means: not yet
        status = 1
    finally:
        os._exit(status)


def succeeds(agent, command, logs, address):
    def start():
        null = os.open("/dev/null", os.O_RDWR)
        try:
            return core.spawn_command(command, agent.env, {0: null, 1: null, 2: null}, None)
        finally:
            os.close(null)

    return by_child(agent, start)


PROBES = {"port": listens, "log": logged, "file": exists, "http": answers, "command": succeeds}


def listening_ports(agent, identity):
    """Every port that something listens on, on any address."""
    agent.reply(identity, sorted(listening()))


OPERATIONS = {"until": until, "listening_ports": listening_ports}
