"""The agent's loop: frames in, processes and frames out, and everything it started dead at the end.

A frame is a header (payload length: 4 bytes, kind: 1 byte, id: 4 bytes, big-endian) and a payload.
The client chooses the ids. To the agent:

    c  call an operation      marshal, version 2: (operation, {argument: value})
    l  load a module          marshal, version 2: (name, code or source)
    d  data                   for standard input, or a transfer
    z  end of that data
    p  the client is alive; answered with the same

From the agent:

    r  result of the call     JSON
    e  error                  JSON: {"kind", "message", "errno"}
    s  process started        pid: 4 bytes
    o  standard output        bytes
    x  standard error         bytes
    q  process ended          OUTCOME
    d  data of a transfer     bytes
    z  end of that data

The client is trusted (it has a shell here anyway), the node is not: hence marshal one way, JSON the other.
"""

import _signal
import _struct
import errno
import marshal
import os
import select
import time

HEADER = _struct.Struct(">IBI")
# status (-1: none), signal (0: none), flags, started, ended, user seconds, system seconds, max RSS bytes
OUTCOME = _struct.Struct(">iiIddddQ")
TIMED_OUT = 1

READ_BYTES = 1 << 16
# What sshd has for us comes through a socket that holds about so much.
ARRIVED_BYTES = 1 << 18
DATA = ord("d")
# A pipe holds at most a megabyte of what an ended process wrote; a descendant may go on writing.
PIPE_READS_MAX = 1 + (1 << 20) // READ_BYTES
# When this much waits for the connection, processes are no longer read: they block, as in a pipe.
OUTPUT_BYTES_MAX = 1 << 22
FRAME_BYTES_MAX = 1 << 26
# Time to end everything when the connection has gone; killing usually takes milliseconds.
FAREWELL_S = 1.9
# What starts a program has no environment for a moment; so long it is asked again.
STARTING_S = 1.0
PR_SET_CHILD_SUBREAPER = 36

SIGCHLD, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGTERM, SIGXFSZ = (
    int(getattr(_signal, name))
    for name in ("SIGCHLD", "SIGHUP", "SIGINT", "SIGKILL", "SIGPIPE", "SIGTERM", "SIGXFSZ")
)
# Python ignores some signals and an ignored signal stays ignored across exec.
_DEFAULT_SIGNALS = [SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGXFSZ]


class Failure(Exception):
    """An operation that could not be done; `kind` tells the client which error to raise."""

    def __init__(self, kind, message, number=0):
        Exception.__init__(self, message)
        self.kind = kind
        self.message = message
        self.number = number


class Process:
    """A program that runs; `outputs` maps the descriptors still open to their frame kinds."""

    def __init__(self, identity, pid, stdin, outputs, started):
        self.identity = identity
        self.pid = pid
        self.stdin = stdin
        self.outputs = outputs
        self.started = started
        self.input = bytearray()
        self.input_ends = False
        self.timed_out = False
        self.ended = False
        self.once = False


class Agent:
    def __init__(self):
        self.poll = select.poll()
        self.arrived = bytearray(ARRIVED_BYTES)
        self.incoming = bytearray()  # of a frame that has not arrived whole
        self.wanted = HEADER.size  # bytes of it until we know more
        self.data_left, self.data_for = 0, 0  # of the data frame that is arriving
        self.outgoing = bytearray()
        self.processes = {}  # id -> Process, until the client forgets it
        self.by_pid = {}
        self.watchers = {}  # pid -> function(wait status), for helpers of an operation
        self.readers = {}  # descriptor -> (Process, frame kind)
        self.writers = {}  # descriptor -> Process
        self.timers = []  # (when, function), unsorted: there are few
        self.transfers = {}  # id -> object with data(bytes), end() and drop()
        self.producers = []  # functions that fill `outgoing` when there is room; False when done
        self.keepers = set()  # pids that outlive this agent
        self.modules = {}
        self.operations = {
            "configure": configure,
            "start": start,
            "signal": signal_tree,
            "stop": stop,
            "forget": forget,
            "end_all": end_all,
            "echo": echo,
        }
        # bash takes a shell of level 0 with SSH_CLIENT for a login by sshd and reads .bashrc; the login
        # shell that started this agent did so already, once.
        self.env = dict(os.environ, SHLVL=str(max(1, int(os.environ.get("SHLVL") or 0))))
        self.silence_s = 0.0
        self.heard = time.monotonic()
        self.home = os.getcwd()
        self.closing = False
        self.reading = True

    # --- sending ---------------------------------------------------------------------------------

    def send(self, kind, identity, payload=b""):
        self.outgoing += HEADER.pack(len(payload), ord(kind), identity)
        self.outgoing += payload

    def reply(self, identity, value):
        self.send("r", identity, to_json(value).encode("ascii"))

    def fail(self, identity, error):
        if isinstance(error, Failure):
            kind, message, number = error.kind, error.message, error.number
        elif isinstance(error, OSError):
            kind, number = "os", error.errno or 0
            where = ": %s" % error.filename if error.filename else ""
            message = "%s%s" % (error.strerror or error, where)
        else:
            kind, message, number = "bug", "%s: %s" % (type(error).__name__, error), 0
        detail = {"kind": kind, "message": message, "errno": number}
        self.send("e", identity, to_json(detail).encode("ascii"))

    def flush(self):
        while self.outgoing:
            try:
                # At most a pipe's worth, so that the remainder is not copied for nothing.
                done = os.write(1, memoryview(self.outgoing)[:READ_BYTES].tobytes())
            except BlockingIOError:
                return
            except OSError:
                self.closing = True
                return
            del self.outgoing[:done]

    # --- the loop --------------------------------------------------------------------------------

    def run(self):
        wake_read, wake_write = os.pipe()
        for descriptor in (0, 1, wake_read, wake_write):
            os.set_blocking(descriptor, False)
        _signal.set_wakeup_fd(wake_write)
        for number in (SIGCHLD, SIGHUP, SIGTERM, SIGINT):
            _signal.signal(number, _noted)
        self.poll.register(0, select.POLLIN)
        self.poll.register(wake_read, select.POLLIN)
        try:
            while not self.closing:
                self.turn(wake_read)
        finally:
            self.farewell()

    def turn(self, wake_read):
        self.balance()
        for descriptor, event in self.poll.poll(self.patience_ms()):
            if descriptor == 0:
                self.receive()
            elif descriptor == wake_read:
                self.woken(os.read(wake_read, 512))
            elif descriptor in self.readers:
                self.drain(descriptor)
            elif descriptor in self.writers:
                self.feed(descriptor, event)
        self.due()
        self.produce()
        self.flush()

    def balance(self):
        """Read from processes only while the connection takes what they say."""
        full = len(self.outgoing) > OUTPUT_BYTES_MAX
        if full == self.reading:
            self.reading = not full
            for descriptor in self.readers:
                if full:
                    self.poll.unregister(descriptor)
                else:
                    self.poll.register(descriptor, select.POLLIN)
        if self.outgoing:
            self.poll.register(1, select.POLLOUT)
        else:
            try:
                self.poll.unregister(1)
            except KeyError:
                pass

    def patience_ms(self):
        now = time.monotonic()
        ends = [when for when, _ in self.timers]
        if self.silence_s:
            ends.append(self.heard + self.silence_s)
        if self.producers and len(self.outgoing) <= OUTPUT_BYTES_MAX:
            return 0
        return max(0, int((min(ends) - now) * 1000) + 1) if ends else None

    def due(self):
        now = time.monotonic()
        if self.silence_s and now - self.heard > self.silence_s:
            self.closing = True
        ready = [timer for timer in self.timers if timer[0] <= now]
        if ready:
            self.timers = [timer for timer in self.timers if timer[0] > now]
            for _, function in ready:
                function()

    def after(self, delay_s, function):
        self.timers.append((time.monotonic() + delay_s, function))

    def produce(self):
        for producer in list(self.producers):
            if len(self.outgoing) > OUTPUT_BYTES_MAX:
                return
            if not producer():
                self.producers.remove(producer)

    def woken(self, signals):
        if SIGHUP in signals or SIGTERM in signals or SIGINT in signals:
            self.closing = True
        self.reap()

    # --- frames in -------------------------------------------------------------------------------

    def receive(self):
        try:
            count = os.readv(0, [self.arrived])
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if not count:
            self.closing = True
            return
        self.heard = time.monotonic()
        self.take(memoryview(self.arrived)[:count])

    def take(self, view):
        """Handle the frames in these bytes; data is passed on as it comes, all else when it is whole."""
        while view and not self.closing:
            if self.data_left:
                piece = view[: self.data_left]
                self.data_left -= len(piece)
                self.handle("d", self.data_for, piece)
                view = view[len(piece) :]
                continue
            missing = self.wanted - len(self.incoming)
            self.incoming += view[:missing]
            view = view[missing:]
            if len(self.incoming) < self.wanted:
                return
            length, kind, identity = HEADER.unpack_from(self.incoming)
            if length > FRAME_BYTES_MAX:
                self.closing = True
            elif kind == DATA:
                self.data_left, self.data_for = length, identity
                self.incoming.clear()
            elif len(self.incoming) < HEADER.size + length:
                self.wanted = HEADER.size + length
            else:
                payload = bytes(self.incoming[HEADER.size :])
                self.incoming.clear()
                self.wanted = HEADER.size
                self.handle(chr(kind), identity, payload)

    def handle(self, kind, identity, payload):
        try:
            if kind == "c":
                name, arguments = marshal.loads(payload)
                self.operations[name](self, identity, **arguments)
            elif kind == "d":
                self.data(identity, payload)
            elif kind == "z":
                self.end_of_data(identity)
            elif kind == "p":
                self.send("p", identity)
            elif kind == "l":
                self.load(*marshal.loads(payload))
        except Exception as error:  # noqa: BLE001 - every failure travels to the client
            self.drop_transfer(identity)
            self.fail(identity, error)

    def load(self, name, code):
        if name in self.modules:
            return
        module = type(marshal)(name)
        module.__dict__["core"] = CORE
        exec(compile(code, name, "exec") if isinstance(code, str) else code, module.__dict__)  # noqa: S102
        self.modules[name] = module
        self.operations.update(module.OPERATIONS)

    def data(self, identity, payload):
        if identity in self.transfers:
            self.transfers[identity].data(payload)
            return
        process = self.processes.get(identity)
        if process is not None and process.stdin is not None:
            process.input += payload
            self.feed(process.stdin, 0)

    def end_of_data(self, identity):
        if identity in self.transfers:
            self.transfers[identity].end()
            self.transfers.pop(identity, None)
            return
        process = self.processes.get(identity)
        if process is not None and process.stdin is not None:
            process.input_ends = True
            self.feed(process.stdin, 0)

    def drop_transfer(self, identity):
        """Remove what has arrived of it; whether there was one."""
        transfer = self.transfers.pop(identity, None)
        if transfer is not None:
            transfer.drop()
        return transfer is not None

    # --- processes -------------------------------------------------------------------------------

    def adopt(self, process):
        self.processes[process.identity] = process
        self.by_pid[process.pid] = process
        for descriptor, kind in process.outputs.items():
            self.readers[descriptor] = (process, kind)
            if self.reading:
                self.poll.register(descriptor, select.POLLIN)

    def drain(self, descriptor):
        """One read; False when nothing more is there now."""
        process, kind = self.readers[descriptor]
        try:
            chunk = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            chunk = b""
        if chunk:
            self.send(kind, process.identity, chunk)
            return True
        self.close_output(descriptor)
        return False

    def close_output(self, descriptor):
        process, _ = self.readers.pop(descriptor)
        if self.reading:
            self.poll.unregister(descriptor)
        os.close(descriptor)
        process.outputs.pop(descriptor, None)

    def feed(self, descriptor, event):
        """Write what standard input still has to get, as far as the pipe takes it."""
        process = self.writers[descriptor]
        try:
            if event & (select.POLLERR | select.POLLHUP):
                raise BrokenPipeError
            while process.input:
                done = os.write(descriptor, bytes(process.input[:READ_BYTES]))
                del process.input[:done]
        except BlockingIOError:
            self.poll.register(descriptor, select.POLLOUT)
            return
        except OSError:
            # It closed its standard input: what it did not want is dropped, as a shell pipe would.
            process.input_ends = True
            process.input.clear()
        try:
            self.poll.unregister(descriptor)
        except KeyError:
            pass
        if process.input_ends:
            self.close_input(process)

    def close_input(self, process):
        if process.stdin is not None:
            try:
                self.poll.unregister(process.stdin)
            except KeyError:
                pass
            self.writers.pop(process.stdin, None)
            os.close(process.stdin)
            process.stdin = None

    def reap(self):
        """Take note of children that have ended; whether there were any."""
        over = []
        alone = False
        any_ended = False
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                alone = True
                break
            if not pid:
                break
            any_ended = True
            self.keepers.discard(pid)
            watcher = self.watchers.pop(pid, None)
            if watcher is not None:
                watcher(status)
            process = self.by_pid.pop(pid, None)
            if process is not None:
                self.ended(process, status, usage)
                if process.once:
                    over.append(process)
        for process in over:
            drop(self, process, alone)
        return any_ended

    def ended(self, process, status, usage):
        now = time.time()
        # What it wrote before it ended is in the pipe; a descendant may still hold the other end.
        for descriptor in list(process.outputs):
            for _ in range(PIPE_READS_MAX):
                if not self.drain(descriptor):
                    break
        self.close_input(process)
        process.ended = True
        exited = os.WIFEXITED(status)
        payload = OUTCOME.pack(
            os.WEXITSTATUS(status) if exited else -1,
            0 if exited else os.WTERMSIG(status),
            TIMED_OUT if process.timed_out else 0,
            process.started,
            now,
            usage.ru_utime,
            usage.ru_stime,
            usage.ru_maxrss * 1024,
        )
        self.send("q", process.identity, payload)

    def tree(self, process, unsure=None):
        """The process and every descendant, including those that daemonised away from it.

        unsure: a list that gets those that do not tell whose they are: they ended, or start a program now.
        """
        mark = b"CLOISTER_PROCESS=%d.%d" % (os.getpid(), process.identity)
        members = set() if process.ended else set(closure([process.pid]))
        for orphan in self.descendants():
            if orphan in members or orphan in self.by_pid:
                continue
            environment = environment_of(orphan)
            if session_of(orphan) == process.pid or mark in environment:
                members.update(closure([orphan]))
            elif unsure is not None and environment == [b""]:
                unsure.append(orphan)
        return members

    def descendants(self):
        """Everything below this agent, except the keepers and their trees."""
        # In one walk: what a keeper's tree forks between two of them would look like ours.
        return closure([pid for pid in children_of(os.getpid()) if pid not in self.keepers])

    def kill_descendants(self):
        """SIGKILL all attached processes; True when none is left."""
        left = self.descendants()
        for pid in left:
            send_signal(pid, SIGKILL)
        # A child that forked and ended while we looked has left us a child that we have not seen.
        return not self.reap() and not left

    def farewell(self):
        end = time.monotonic() + FAREWELL_S
        while not self.kill_descendants() and time.monotonic() < end:
            time.sleep(0.002)
            self.reap()
        try:
            for identity in list(self.transfers):
                self.drop_transfer(identity)
        finally:
            os._exit(0)


def _noted(number, frame):
    """Signals only wake the loop, which reads their numbers from the wake-up pipe."""


# --- operations ----------------------------------------------------------------------------------


def configure(agent, identity, env, silence_s, folder):
    """`folder` is where relative paths start from: made if missing, below the home unless absolute."""
    agent.env.update(env)
    agent.silence_s = silence_s
    path = os.path.join(agent.home, os.path.expanduser(folder))
    os.makedirs(path, exist_ok=True)
    os.chdir(path)
    agent.env["PWD"] = path
    agent.reply(identity, {"folder": path, "home": agent.home, "pid": os.getpid()})


def echo(agent, identity):
    """The agent and its node are alive."""
    agent.reply(identity, None)


def start(
    agent,
    identity,
    command,
    folder=None,
    env=None,
    stdin=None,
    stdout=None,
    stderr=None,
    timeout_s=0,
    once=False,
):
    """Start a process.

    command: a list of arguments, or a text for the shell.  stdin: None (empty), True (frames follow)
    or bytes.  stdout, stderr: None (frames) or the path of a file; stderr also "stdout".  once: when it
    has ended, kill what is left of its tree and forget it; only its outcome is told.
    """
    mark = "%d.%d" % (os.getpid(), identity)
    environment = dict(agent.env, **(env or {}))
    environment["CLOISTER_PROCESS"] = mark
    ends = {}  # child's descriptor number -> descriptor here
    outputs, stdin_here = {}, None
    try:
        if stdin is None:
            ends[0] = os.open("/dev/null", os.O_RDONLY)
        else:
            ends[0], stdin_here = os.pipe()
            os.set_blocking(stdin_here, False)
        for number, target, kind in ((1, stdout, "o"), (2, stderr, "x")):
            if number == 2 and target == "stdout":
                ends[2] = ends[1]
            elif target is None:
                here, ends[number] = os.pipe()
                os.set_blocking(here, False)
                outputs[here] = kind
            else:
                ends[number] = open_log(target)
        # Before it: whatever it writes is younger.
        started = time.time()
        pid = spawn_command(command, environment, ends, folder)
    except BaseException:
        for descriptor in list(outputs) + ([stdin_here] if stdin_here is not None else []):
            os.close(descriptor)
        raise
    finally:
        for descriptor in set(ends.values()):
            os.close(descriptor)
    process = Process(identity, pid, stdin_here, outputs, started)
    process.once = once
    agent.adopt(process)
    if not once:
        agent.send("s", identity, _struct.pack(">I", pid))
    if stdin_here is not None:
        agent.writers[stdin_here] = process
        if stdin is not True:
            process.input += stdin
            process.input_ends = True
            agent.feed(stdin_here, 0)
    if timeout_s:
        agent.after(timeout_s, lambda: time_out(agent, process))


def open_log(path):
    folder = os.path.dirname(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o644)


def spawn_command(command, environment, ends, folder):
    """`spawn` for a list of arguments or a text for the shell."""
    if isinstance(command, (list, tuple)):
        return spawn(command, environment, ends, folder)
    argv = argv_of(command, environment)
    try:
        return spawn(argv, environment, ends, folder)
    except OSError:
        if argv[0] == shell():
            raise
        # A script without a first line, or nothing that runs: the shell knows what to do and to say.
        return spawn([shell(), "-c", command], environment, ends, folder)


def spawn(argv, environment, ends, folder):
    """A new session with these descriptors in this folder; posix_spawn, because fork copies Python."""
    program = find_program(argv[0], environment.get("PATH", os.defpath))
    actions = [(os.POSIX_SPAWN_DUP2, here, number) for number, here in sorted(ends.items())]
    back = None
    try:
        if folder:
            # posix_spawn has no working folder of its own; nothing else runs in this process meanwhile.
            back = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
            os.chdir(folder)
            environment = dict(environment, PWD=os.getcwd())
        return os.posix_spawn(
            program,
            argv,
            environment,
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=_DEFAULT_SIGNALS,
        )
    finally:
        if back is not None:
            os.fchdir(back)
            os.close(back)


def find_program(name, path):
    if "/" in name:
        return name
    for folder in path.split(":"):
        candidate = os.path.join(folder or ".", name)
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
    raise Failure("os", "no such program on the PATH: %s" % name, errno.ENOENT)


# Characters that mean nothing to a shell, and first words that mean something to it even so, or for
# which it has something of its own that differs from the program of that name.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:,@%+-= ")
_SHELL_WORDS = frozenset(
    "alias bg bind break builtin caller case cd command continue coproc declare dirs disown do done elif"
    " else enable esac eval exec exit export fc fg fi for function getopts hash help history if in jobs"
    " kill let local logout mapfile popd printf pushd pwd read readarray readonly return select set shift shopt source"
    " suspend test then time times trap type typeset ulimit umask unalias unset until wait while . :".split()
)


# bash's own echo, true and false do not know these.
_QUESTIONS = frozenset(("--help", "--version"))


def argv_of(command, environment):
    """Arguments for a command text: a shell's, unless a shell would only look the program up and run it."""
    if _PLAIN.issuperset(command):
        words = command.split()
        plain = words and words[0] not in _SHELL_WORDS and "=" not in words[0]
        if plain and _QUESTIONS.isdisjoint(words):
            try:
                find_program(words[0], environment.get("PATH", os.defpath))
                return words
            except Failure:
                pass
    return [shell(), "-c", command]


_shell = []


def shell():
    """bash where there is one, as people write their commands for it."""
    if not _shell:
        _shell.append("/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh")
    return _shell[0]


def time_out(agent, process):
    if not process.ended:
        process.timed_out = True
        end_tree(agent, process, SIGTERM, 2.0, None)


def find_process(agent, process):
    if process not in agent.processes:
        raise Failure("unknown process", "no process %d here" % process)
    return agent.processes[process]


def signal_tree(agent, identity, process, number):
    """Send a signal to the process and all its descendants; the reply says to how many."""
    members = agent.tree(find_process(agent, process))
    agent.reply(identity, sum(send_signal(pid, number) for pid in members))


def stop(agent, identity, process, number, grace_s):
    """Signal the tree, kill what is left after the grace period, reply when nothing of it runs."""
    end_tree(agent, find_process(agent, process), number, grace_s, identity)


def end_tree(agent, process, number, grace_s, identity):
    kill_at = time.monotonic() + grace_s
    told = agent.tree(process)
    for pid in told:
        send_signal(pid, number)
    pause = [0.002]

    def look():
        agent.reap()
        members = agent.tree(process)
        # As in kill_descendants: whoever ended meanwhile may have left a child.
        if not members and not agent.reap():
            if identity is not None:
                agent.reply(identity, None)
            return
        # A child forked while we looked has not been told, and its parent may have died of the signal.
        # What a living parent starts is its way of ending, and not to be disturbed.
        for pid in members - told:
            if parent_of(pid) in (1, os.getpid()):
                told.add(pid)
                send_signal(pid, number)
        if number == SIGKILL or time.monotonic() >= kill_at:
            for pid in members:
                send_signal(pid, SIGKILL)
        pause[0] = min(pause[0] * 2, 0.1)
        agent.after(
            min(pause[0], max(0.001, kill_at - time.monotonic()) if pause[0] > 0.05 else 1), look
        )

    agent.after(0.001, look)


def forget(agent, identity, process):
    """Kill what is left of a process's tree and drop it; there is no reply."""
    if process in agent.processes:
        drop(agent, agent.processes[process])


def drop(agent, process, alone=False):
    """`alone`: the agent has no children left, so there is no tree to look for."""
    agent.processes.pop(process.identity, None)
    for descriptor in list(process.outputs):
        agent.close_output(descriptor)
    agent.close_input(process)
    if alone:
        return
    # A program without an environment never tells whose it is; one that starts does so in a moment.
    sure_at = time.monotonic() + STARTING_S
    pause = [0.001]

    def look():
        unsure = []
        members = agent.tree(process, unsure)
        for pid in members:
            send_signal(pid, SIGKILL)
        # Whoever forked or ended while we looked has left a child that has not been killed.
        if members or agent.reap() or (unsure and time.monotonic() < sure_at):
            pause[0] = 0.002 if members else min(pause[0] * 2, 0.1)
            agent.after(pause[0], look)

    look()


def end_all(agent, identity):
    """Kill every attached process; reply when none is left."""

    def look():
        agent.reap()
        if agent.kill_descendants():
            agent.reply(identity, None)
        else:
            agent.after(0.002, look)

    look()


# --- /proc ---------------------------------------------------------------------------------------


def read_file(path):
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        parts = []
        while True:
            part = os.read(descriptor, 1 << 16)
            if not part:
                return b"".join(parts)
            parts.append(part)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def closure(roots):
    """The roots and all their living descendants, parents first."""
    found, seen = list(roots), set(roots)
    for pid in found:
        for child in children_of(pid):
            if child not in seen:
                seen.add(child)
                found.append(child)
    return found


def children_of(pid):
    base = "/proc/%d/task" % pid
    try:
        threads = os.listdir(base)
    except OSError:
        return []
    children = []
    for thread in threads:
        listed = read_file("%s/%s/children" % (base, thread))
        children += [int(number) for number in listed.split()]
    if not children and not _has_children_files():
        return _children_by_scan(pid)
    # A zombie is dead already; its parent has yet to look.
    return [child for child in children if state_of(child) not in b"ZX"]


_children_files = []


def _has_children_files():
    # Kernels without CONFIG_PROC_CHILDREN exist.
    if not _children_files:
        _children_files.append(os.path.exists("/proc/self/task/%d/children" % os.getpid()))
    return _children_files[0]


def _children_by_scan(pid):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = stat_fields(int(name))
            if fields and int(fields[1]) == pid and fields[0] not in b"ZX":
                found.append(int(name))
    return found


def stat_fields(pid):
    """The fields of /proc/PID/stat from the state on: state, parent, process group, session, …"""
    return read_file("/proc/%d/stat" % pid).rpartition(b")")[2].split()


def state_of(pid):
    fields = stat_fields(pid)
    return fields[0] if fields else b"X"


def parent_of(pid):
    fields = stat_fields(pid)
    return int(fields[1]) if fields else 0


def session_of(pid):
    fields = stat_fields(pid)
    return int(fields[3]) if fields else 0


def environment_of(pid):
    return read_file("/proc/%d/environ" % pid).split(b"\0")


def send_signal(pid, number):
    try:
        os.kill(pid, number)
        return True
    except OSError:
        return False


def become_subreaper():
    """Orphans of our processes become our children. Without it (no Linux) only the mark finds them."""
    try:
        import _ctypes

        prctl = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")
        _ctypes.call_function(prctl, (PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
    except (ImportError, OSError, AttributeError):
        pass


# --- JSON, written by hand because importing json takes longer than starting Python ---------------


def to_json(value):
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _NO_NUMBERS.get(repr(value)) or repr(value)
    if isinstance(value, str):
        return (
            '"' + "".join([_escaped(c) for c in value]) + '"'
            if _needs_escape(value)
            else '"' + value + '"'
        )
    if isinstance(value, dict):
        return "{" + ",".join([to_json(str(k)) + ":" + to_json(v) for k, v in value.items()]) + "}"
    return "[" + ",".join([to_json(item) for item in value]) + "]"


# As json.dumps writes what JSON's own grammar does not have.
_NO_NUMBERS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _needs_escape(text):
    return not (text.isascii() and text.isprintable()) or '"' in text or "\\" in text


def _escaped(character):
    code = ord(character)
    if character in '"\\':
        return "\\" + character
    if 32 <= code < 127:
        return character
    if code > 0xFFFF:
        code -= 0x10000
        return "\\u%04x\\u%04x" % (0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF))
    return "\\u%04x" % code


class _Core:
    """What the modules that are loaded later see as `core`."""

    def __init__(self, names):
        self.__dict__.update(names)


CORE = _Core(globals())


def main():
    become_subreaper()
    Agent().run()
