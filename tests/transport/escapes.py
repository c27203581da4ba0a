"""Ways in which a program tries to outlive its parent; each is a shell command that names `mark`."""

from __future__ import annotations

import shlex

_SLEEP = "sh -c 'sleep 300; : {mark}'"

# Five parents with children that live for a moment, all deaf to SIGTERM and SIGHUP: some 70 at a time.
_BOMB = """python3 -c '
import os, signal, time  # {mark}
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in range(4):
    if not os.fork():
        break
for _ in range(500):
    if not os.fork():
        os.setsid()
        time.sleep(0.4)
        os._exit(0)
    time.sleep(0.03)
'"""

ESCAPES = {
    "child": _SLEEP + " & wait",
    "double fork": "(" + _SLEEP + " &) ; sleep 300; :",
    "session": "setsid " + _SLEEP + " & sleep 300; :",
    "session of an orphan": "(setsid " + _SLEEP + " >/dev/null 2>&1 </dev/null &) ; sleep 300; :",
    "no environment": "(env -i setsid /bin/" + _SLEEP + " &) ; sleep 300; :",
    "nohup": "nohup " + _SLEEP + " >/dev/null 2>&1 & sleep 300; :",
    "deaf": "trap '' TERM HUP INT; " + _SLEEP + " & wait",
    "stopped": _SLEEP + " & kill -STOP $!; sleep 300; :",
    "own group": "timeout 300 " + _SLEEP + " & sleep 300; :",
    "bomb": _BOMB,
}

# Descendants that no mark in the environment and no session id ties to their process any more.
UNMARKED = ("no environment",)

# Forks and leaves, some hundred times a second: whoever is looked at has gone already. What it does can
# be seen by the file `beat` in its folder. It ends by itself after some 20 s.
MOVING = """perl -e '
for (1 .. 8000) { exit if fork; open F, ">", "beat"; close F; select undef, undef, undef, 0.002 }
' & sleep 300; :"""


def escape(name: str, mark: str) -> str:
    return ESCAPES[name].format(mark=mark) + f" # {mark}"


def all_escapes(mark: str, *, without: tuple[str, ...] = ()) -> str:
    """All of them at once, and then a word on standard output."""
    each = [escape(name, mark) for name in ESCAPES if name not in without]
    return (
        "".join(f"bash -c {shlex.quote(text)} & " for text in each) + f"echo ready; wait # {mark}"
    )
