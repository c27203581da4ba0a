"""Processes that outlive the connection, each with a keeper that records how it ended.

A detached process has a folder `<work folder>/.cloister/detached/<name>` with
    spec.json      what was started                    written before it starts
    keeper         pid and start time of the keeper
    outcome.json   how it ended                        written last, atomically
    stdout.log, stderr.log
"""

import json
import os
import shutil
import time

# core is the agent's core module, put here by Agent.load.

FOLDER = os.path.join(".cloister", "detached")
START_WITHIN_S = 10.0
STOP_GRACE_S = 5.0
_AWAITED = (core.SIGCHLD, core.SIGTERM)


def detach(agent, identity, name, command, folder=None, env=None):
    """Start a detached process; the reply has its pid. A name that still runs is a failure."""
    place = os.path.join(os.getcwd(), FOLDER, name)
    if os.path.isdir(place):
        if _state(place)["running"]:
            raise core.Failure("exists", "a detached process %r runs already" % name)
        shutil.rmtree(place)
    os.makedirs(place)
    spec = {"name": name, "command": command, "folder": folder or ".", "started": time.time()}
    _write_json(os.path.join(place, "spec.json"), spec)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read_end)
        _keep(agent, place, command, folder, env, write_end)
    os.close(write_end)
    agent.keepers.add(pid)
    _reply_when_started(agent, identity, read_end, place)


def _reply_when_started(agent, identity, read_end, place):
    """The keeper says one line: the pid, or why there is none."""
    os.set_blocking(read_end, False)
    deadline = time.monotonic() + START_WITHIN_S
    text = bytearray()

    def look():
        try:
            chunk = os.read(read_end, 4096)
        except BlockingIOError:
            chunk = None
        if chunk:
            text.extend(chunk)
        if chunk == b"" or time.monotonic() > deadline:
            os.close(read_end)
            word, _, rest = bytes(text).decode("utf-8", "replace").partition(" ")
            if word == "pid":
                agent.reply(identity, {"pid": int(rest), "folder": place})
            else:
                agent.fail(identity, core.Failure("os", rest or "the keeper did not start it"))
        else:
            agent.after(0.002, look)

    look()


def _keep(agent, place, command, folder, env, write_end):
    """The keeper: start, wait, record, and end the rest of the tree. Never returns."""
    status = 1
    try:
        os.setsid()
        # Nothing of the connection may stay open here: sshd waits for the last holder of its pipes.
        null = os.open("/dev/null", os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2 and int(name) != write_end:
                try:
                    os.close(int(name))
                except OSError:
                    pass
        core._signal.signal(core.SIGHUP, core._signal.SIG_IGN)
        core._signal.signal(core.SIGINT, core._signal.SIG_IGN)
        # Waited for by name in _wait, so that the keeper sleeps until something happens.
        core._signal.pthread_sigmask(core._signal.SIG_BLOCK, _AWAITED)
        core.become_subreaper()
        me = str(os.getpid())
        with open(os.path.join(place, "keeper"), "w") as file:
            file.write("%s %s" % (me, _start_time(me)))
        _run(agent, place, command, folder, env, write_end)
        status = 0
    except BaseException as error:  # noqa: BLE001 - the last words of a process that nobody watches
        try:
            os.write(write_end, ("error %s" % error).encode("utf-8", "replace"))
        except OSError:
            pass
    finally:
        os._exit(status)


def _run(agent, place, command, folder, env, write_end):
    environment = dict(agent.env, **(env or {}))
    environment["CLOISTER_DETACHED"] = os.path.basename(place)
    null = os.open("/dev/null", os.O_RDONLY)
    out = core.open_log(os.path.join(place, "stdout.log"))
    err = core.open_log(os.path.join(place, "stderr.log"))
    started = time.time()
    try:
        pid = core.spawn_command(command, environment, {0: null, 1: out, 2: err}, folder)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    for descriptor in (null, out, err):
        os.close(descriptor)
    os.write(write_end, b"pid %d" % pid)
    os.close(write_end)
    status, usage, stopped = _wait(pid)
    exited = os.WIFEXITED(status)
    outcome = {
        "status": os.WEXITSTATUS(status) if exited else -1,
        "signal": 0 if exited else os.WTERMSIG(status),
        "started": started,
        "ended": time.time(),
        "user_s": usage.ru_utime,
        "system_s": usage.ru_stime,
        "max_rss_bytes": usage.ru_maxrss * 1024,
        "stopped": stopped,
    }
    _kill_rest()
    _write_json(os.path.join(place, "outcome.json"), outcome)


def _wait(pid):
    """(wait status, usage, whether it was stopped): SIGTERM to the keeper ends the tree, gently first."""
    stopped, kill_at = False, 0.0
    while True:
        found, status, usage = os.wait4(-1, os.WNOHANG)
        if found == pid:
            return status, usage, stopped
        if found:
            continue
        if stopped and time.monotonic() > kill_at:
            _signal_tree(core.SIGKILL)
        awaited = core._signal.sigtimedwait(_AWAITED, 0.1 if stopped else 60.0)
        if awaited is not None and awaited.si_signo == core.SIGTERM and not stopped:
            stopped, kill_at = True, time.monotonic() + STOP_GRACE_S
            _signal_tree(core.SIGTERM)


def _signal_tree(number):
    for member in core.closure([os.getpid()])[1:]:
        core.send_signal(member, number)


def _kill_rest():
    for _ in range(500):
        left = core.closure([os.getpid()])[1:]
        for pid in left:
            core.send_signal(pid, core.SIGKILL)
        try:
            while os.wait4(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def _write_json(path, value):
    with open(path + ".new", "w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".new", path)


def _start_time(pid):
    fields = core.stat_fields(int(pid))
    return fields[19].decode() if len(fields) > 19 else ""


def _keeper_of(place):
    """The keeper's pid if it lives: the start time tells it from a later process with its number."""
    words = core.read_file(os.path.join(place, "keeper")).decode("ascii", "replace").split()
    if len(words) == 2 and words[1] and _start_time(words[0]) == words[1]:
        if core.state_of(int(words[0])) not in b"ZX":
            return int(words[0])
    return 0


def _state(place):
    """running, or the outcome; neither if the keeper was killed or the machine restarted."""
    state = _read_json(os.path.join(place, "spec.json"))
    keeper = _keeper_of(place)
    state["outcome"] = _read_json(os.path.join(place, "outcome.json")) or None
    state["running"] = bool(keeper) and state["outcome"] is None
    state["keeper"] = keeper
    state["name"] = os.path.basename(place)
    state["place"] = place
    return state


def _read_json(path):
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def detached(agent, identity):
    """All detached processes of this work folder, ended ones too."""
    base = os.path.join(os.getcwd(), FOLDER)
    names = sorted(os.listdir(base)) if os.path.isdir(base) else []
    agent.reply(identity, [_state(os.path.join(base, name)) for name in names])


def detached_wait(agent, identity, name, within_s):
    """Reply with its state when it has ended or the time is over."""
    place = os.path.join(os.getcwd(), FOLDER, name)
    if not os.path.isdir(place):
        raise core.Failure("unknown process", "no detached process %r here" % name)
    end = time.monotonic() + within_s

    def look():
        state = _state(place)
        if state["running"] and time.monotonic() < end:
            agent.after(0.05, look)
        else:
            agent.reply(identity, state)

    look()


def detached_stop(agent, identity, name):
    """Ask the keeper to end its process; `detached_wait` tells when it has. A lost one is ended by mark."""
    place = os.path.join(os.getcwd(), FOLDER, name)
    if not os.path.isdir(place):
        raise core.Failure("unknown process", "no detached process %r here" % name)
    keeper = _keeper_of(place)
    agent.reply(identity, bool(keeper) and core.send_signal(keeper, core.SIGTERM))


OPERATIONS = {
    "detach": detach,
    "detached": detached,
    "detached_wait": detached_wait,
    "detached_stop": detached_stop,
}
