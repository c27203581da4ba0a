"""Facts about the node, its exclusive use, and the end of what should no longer run there."""

import errno
import os

# core is the agent's core module, put here by Agent.load.


def facts(agent, identity, folder="."):
    """What a result depends on: CPU, kernel, memory, distribution, free disk space."""
    import platform

    disk = os.statvfs(os.path.expanduser(folder))
    agent.reply(
        identity,
        {
            "machine": platform.machine(),
            "cpus": len(os.sched_getaffinity(0)),
            "cpu_model": _line(core.read_file("/proc/cpuinfo"), b"model name"),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "kernel": platform.release(),
            "system": _line(core.read_file("/etc/os-release"), b"PRETTY_NAME", b"="),
            "python": platform.python_version(),
            "disk_free_bytes": disk.f_bavail * disk.f_frsize,
            "boot_id": core.read_file("/proc/sys/kernel/random/boot_id").decode().strip(),
        },
    )


def _line(text, key, separator=b":"):
    for line in text.split(b"\n"):
        name, found, value = line.partition(separator)
        if found and name.strip() == key:
            return value.strip().strip(b'"').decode("utf-8", "replace")
    return ""


def hold(agent, identity, path, holder):
    """Exclusive use until this agent ends; fails with `busy` and the holder's words otherwise."""
    import fcntl

    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        raise core.Failure("busy", core.read_file(path).decode("utf-8", "replace")) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, holder.encode("utf-8"))
    # The descriptor stays open: the lock lasts as long as this process, however it ends.
    agent.reply(identity, None)


def end_processes(agent, identity, rounds=50, **wanted):
    """SIGKILL what matches `wanted` (see _Search), until nothing does; reply with what it was."""
    search = _Search(**wanted)
    ended = {}

    def look(turn):
        found = search.look()
        signalled = False
        for key, entry in found.items():
            ended.setdefault(key, entry)
            signalled = core.send_signal(entry["pid"], core.SIGKILL) or signalled
        agent.reap()
        if found and signalled and turn < rounds:
            agent.after(min(0.002 * (turn + 1), 0.05), lambda: look(turn + 1))
            return
        left = search.look() if found else found
        for key, entry in ended.items():
            entry["killed"] = key not in left
        agent.reply(identity, search.reply(ended))

    look(0)


def list_processes(agent, identity, **wanted):
    """What `end_processes` would end."""
    search = _Search(**wanted)
    agent.reply(identity, search.reply(search.look()))


class _Search:
    """The processes of one benchmark, and whoever listens on its ports.

    A process matches if its environment has all of `marks` (NAME=value), or if it is nobody else's and
    its executable is called one of `names` or it listens on one of `ports` at `address`, at the address
    by which this agent was reached, or at a wildcard.  It is somebody else's if it or an ancestor of it
    carries the mark of a cluster other than `cluster`.  This agent and its ancestors never match.
    """

    def __init__(self, marks=(), names=(), ports=(), address="", cluster=""):
        self.marks = {mark.encode("utf-8", "surrogateescape") for mark in marks}
        self.names = set(names)
        self.ports = set(ports)
        self.cluster = cluster.encode("utf-8", "surrogateescape")
        self.addresses = _own_addresses(address) if ports else set()
        self.spared = set(_ancestors(os.getpid()))
        self.unseen = {}  # inode -> (port, user id): listeners of which no process was found
        self.others = {}  # port -> why its listener is left alone

    def look(self):
        """(pid, start time) -> what is known of each match."""
        self.unseen = _listening_inodes(self.ports, self.addresses) if self.ports else {}
        self.others = {}
        listening = dict(self.unseen)
        found = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                entry = self.match(int(name), listening)
                if entry:
                    found[(entry["pid"], entry["start"])] = entry
        return found

    def match(self, pid, listening):
        fields = core.stat_fields(pid)
        if len(fields) < 20 or fields[0] in b"ZX":
            return None
        held = [inode for inode in _sockets(pid) if inode in listening] if listening else []
        ports = {listening[inode][0] for inode in held}
        for inode in held:
            self.unseen.pop(inode, None)
        environment = core.environment_of(pid)
        executable = _executable(pid)
        if self.marks and self.marks.issubset(environment):
            why = "mark"
        elif executable in self.names:
            why = "name %s" % executable
        elif ports:
            why = "port %s" % ", ".join(str(port) for port in sorted(ports))
        else:
            return None
        entry = {
            "pid": pid,
            "start": int(fields[19]),
            "why": why,
            "command": _command_line(pid) or executable,
            "executable": executable,
            "node": _variable(environment, b"CLOISTER_NODE="),
            "benchmark": _variable(environment, b"CLOISTER_BENCHMARK="),
        }
        keeper = self.keeper(pid, why)
        if keeper:
            for port in ports:
                self.others[port] = "process %d (%s) %s" % (pid, entry["command"], keeper)
            return None
        return entry

    def keeper(self, pid, why):
        """Why this process is not ours to end; empty if it is."""
        if pid in self.spared:
            return "carries this connection"
        if why != "mark":
            for member in _ancestors(pid):
                mark = _variable(core.environment_of(member), b"CLOISTER_CLUSTER=")
                if mark:
                    ours = mark.encode("utf-8", "surrogateescape") == self.cluster
                    return "" if ours else "belongs to another cluster"
        return ""

    def reply(self, found):
        others = [{"port": port, "why": self.others[port]} for port in sorted(self.others)]
        hidden = {
            port: "a process of user %d that cannot be seen from here" % user
            for port, user in self.unseen.values()
        }
        others += [{"port": port, "why": hidden[port]} for port in sorted(hidden)]
        return {
            # Process numbers mean the same on all nodes of one such space.
            "space": "%s %s" % (_boot(), _link("/proc/self/ns/pid")),
            "processes": [found[key] for key in sorted(found)],
            "ports_left": others,
        }


def _ancestors(pid):
    while pid > 1:
        yield pid
        fields = core.stat_fields(pid)
        pid = int(fields[1]) if fields else 0


def _boot():
    return core.read_file("/proc/sys/kernel/random/boot_id").decode("ascii", "replace").strip()


def _link(path):
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _command_line(pid):
    line = core.read_file("/proc/%d/cmdline" % pid).replace(b"\0", b" ").strip()
    return line.decode("utf-8", "replace")[:200]


def _variable(environment, prefix):
    for entry in environment:
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode("utf-8", "replace")
    return ""


def _executable(pid):
    path = _link("/proc/%d/exe" % pid)
    return os.path.basename(path[: -len(" (deleted)")] if path.endswith(" (deleted)") else path)


def _sockets(pid):
    try:
        descriptors = os.listdir("/proc/%d/fd" % pid)
    except OSError:
        return
    for descriptor in descriptors:
        target = _link("/proc/%d/fd/%s" % (pid, descriptor))
        if target.startswith("socket:["):
            yield target[8:-1]


def _listening_inodes(ports, addresses):
    """Inode -> (port, user id) of the sockets that listen there."""
    inodes = {}
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in core.read_file(path).decode("ascii").splitlines()[1:]:
            fields = line.split()
            address, _, port = fields[1].partition(":")
            if fields[3] == "0A" and int(port, 16) in ports and address in addresses:
                inodes[fields[9]] = (int(port, 16), int(fields[7]))
    return inodes


def _own_addresses(address):
    """As /proc/net/tcp and tcp6 write them: the wildcards, this address, and where sshd was reached."""
    found = {"0" * 8, "0" * 32}
    reached = os.environ.get("SSH_CONNECTION", "").split()[2:3]
    for name in [address] + reached:
        found.update(_digits(name) if name else ())
    return found


def _digits(name):
    import socket

    try:
        answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return
    for family, _, _, _, place in answers:
        packed = socket.inet_pton(family, place[0].partition("%")[0])
        # Words of 32 bits in the machine's own order, here little-endian.
        words = [packed[at : at + 4][::-1].hex().upper() for at in range(0, len(packed), 4)]
        yield "".join(words)
        if len(words) == 1:
            yield "0" * 16 + "FFFF0000" + words[0]


OPERATIONS = {
    "facts": facts,
    "hold": hold,
    "end_processes": end_processes,
    "list_processes": list_processes,
}
